/* Newton's gravity among five bodies, in doubles: multiplications, divisions and square roots of SSE2. */
#include "runtime.h"

enum { BODIES = 5, STEPS = 750000 };
static struct { double x, y, z, vx, vy, vz, mass; } bodies[BODIES];

static double between(double low, double high) { return low + (high - low) * (random32() >> 1) / 2147483648.0; }

static void step(double dt) {
  for (int i = 0; i < BODIES; i++)
    for (int j = i + 1; j < BODIES; j++) {
      double dx = bodies[i].x - bodies[j].x, dy = bodies[i].y - bodies[j].y, dz = bodies[i].z - bodies[j].z;
      double square = dx * dx + dy * dy + dz * dz + 0.01;
      double force = dt / (square * __builtin_sqrt(square));
      bodies[i].vx -= dx * bodies[j].mass * force;
      bodies[i].vy -= dy * bodies[j].mass * force;
      bodies[i].vz -= dz * bodies[j].mass * force;
      bodies[j].vx += dx * bodies[i].mass * force;
      bodies[j].vy += dy * bodies[i].mass * force;
      bodies[j].vz += dz * bodies[i].mass * force;
    }
  for (int i = 0; i < BODIES; i++) {
    bodies[i].x += dt * bodies[i].vx;
    bodies[i].y += dt * bodies[i].vy;
    bodies[i].z += dt * bodies[i].vz;
  }
}

static uint32_t run(int argc, char **argv) {
  for (int i = 0; i < BODIES; i++) {
    bodies[i].x = between(-10, 10), bodies[i].y = between(-10, 10), bodies[i].z = between(-10, 10);
    bodies[i].vx = between(-1, 1), bodies[i].vy = between(-1, 1), bodies[i].vz = between(-1, 1);
    bodies[i].mass = between(0.1, 5);
  }
  for (int i = 0; i < STEPS; i++) step(0.001);
  uint32_t checksum = 0;
  for (int i = 0; i < BODIES; i++) checksum = mix_double(mix_double(checksum, bodies[i].x), bodies[i].vz);
  return checksum;
}
