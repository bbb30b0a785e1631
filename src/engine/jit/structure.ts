/**
 * From a graph of blocks to WebAssembly's nested blocks and loops. A set with one header becomes a loop (if anything
 * leads back to the header) around its strongly connected parts in topological order; a part with several headers gets
 * a dispatcher.
 */
import type { Body } from '../../wasm/module.ts';

export interface Node {
  successors: readonly Node[];
}

/** Where a branch to a node goes. */
export interface Target {
  label: number;
  /** The label is of a loop: this is a branch backwards. */
  backwards: boolean;
  /** A dispatcher's local and the value that leads to the node. */
  dispatch?: { local: number; value: number };
}

export interface Emitter<N extends Node> {
  body: Body;
  /** Emits a node's code, branching with `target` for each successor it goes to. It never falls through. */
  node(node: N, target: (successor: N) => Target): void;
}

export function emitStructured<N extends Node>(emitter: Emitter<N>, nodes: readonly N[], entry: N): void {
  const { body } = emitter;
  const targets = new Map<N, Target>();
  const predecessors = new Map<Node, N[]>();
  for (const node of nodes)
    for (const successor of node.successors) {
      const known = predecessors.get(successor);
      if (known) known.push(node);
      else predecessors.set(successor, [node]);
    }
  const entered = (node: N, from: (predecessor: N) => boolean) => predecessors.get(node)?.some(from) ?? false;
  const lookup = (node: N): Target => {
    const target = targets.get(node);
    if (!target) throw new Error('structure: a branch to a node that is out of reach');
    return target;
  };

  /** Emits `set`, which is entered at `header` alone. */
  function emitSet(set: ReadonlySet<N>, header: N): void {
    const cyclic = entered(header, from => set.has(from));
    const before = targets.get(header);
    if (cyclic) targets.set(header, { label: body.loop(), backwards: true });
    emitParts(set, [header], new Set([header]), () => emitter.node(header, lookup));
    if (cyclic) {
      body.unreachable();
      body.end();
    }
    if (before) targets.set(header, before);
    else targets.delete(header);
  }
  /** Emits a set entered at several headers: a loop around a br_table over them. */
  function emitDispatched(set: ReadonlySet<N>, headers: readonly N[], local: number): void {
    const before = headers.map(header => targets.get(header));
    const label = body.loop();
    headers.forEach((header, value) => targets.set(header, { label, backwards: true, dispatch: { local, value } }));
    emitParts(
      set,
      headers,
      new Set(headers),
      parts => {
        // The dispatcher itself: each header is a part of its own below.
        body.get(local);
        const labels = headers.map(header => parts.get(header)!.label);
        body.brTable(labels.slice(0, -1), labels.at(-1)!);
      },
      true,
    );
    body.unreachable();
    body.end();
    headers.forEach((header, i) => {
      const old = before[i];
      if (old) targets.set(header, old);
      else targets.delete(header);
    });
  }

  /**
   * The strongly connected parts of `set` with edges to `headers` left out, in topological order, each after the end
   * of a WebAssembly block so that earlier ones can branch to it. `first` emits what comes before them.
   */
  function emitParts(
    set: ReadonlySet<N>,
    headers: readonly N[],
    isHeader: ReadonlySet<N>,
    first: (parts: Map<N, Target>) => void,
    dispatched = false,
  ): void {
    const parts = components(set, isHeader, headers).filter(part => dispatched || part[0] !== headers[0]);
    const entries = parts.map(part => {
      const inside = new Set(part);
      const fronts = part.filter(node =>
        isHeader.has(node) ? dispatched : entered(node, from => set.has(from) && !inside.has(from)),
      );
      return { part, inside, fronts };
    });
    const labels = entries.map(() => 0);
    for (let i = entries.length - 1; i >= 0; i--) labels[i] = body.block();
    const own = new Map<N, Target>();
    const saved: [N, Target | undefined][] = [];
    entries.forEach(({ fronts }, i) => {
      const local = fronts.length > 1 ? body.local('i32') : -1;
      fronts.forEach((node, value) => {
        const target: Target = {
          label: labels[i]!,
          backwards: false,
          ...(local >= 0 ? { dispatch: { local, value } } : {}),
        };
        own.set(node, target);
        // A header of this level keeps its loop's target for all but the dispatcher.
        if (!isHeader.has(node)) {
          saved.push([node, targets.get(node)]);
          targets.set(node, target);
        }
      });
    });
    first(own);
    entries.forEach(({ part, inside, fronts }) => {
      body.end();
      const dispatch = own.get(fronts[0]!)?.dispatch;
      if (part.length === 1 && !(part[0]!.successors.includes(part[0]!) && !isHeader.has(part[0]!)))
        emitter.node(part[0]!, lookup);
      else if (fronts.length > 1) emitDispatched(inside, fronts, dispatch!.local);
      else emitSet(inside, fronts[0]!);
    });
    for (const [node, target] of saved) {
      if (target) targets.set(node, target);
      else targets.delete(node);
    }
  }

  emitSet(new Set(nodes), entry);
}

/** Tarjan's algorithm over `set` without edges to `cut`; components in topological order, roots first. */
function components<N extends Node>(set: ReadonlySet<N>, cut: ReadonlySet<N>, roots: readonly N[]): N[][] {
  const index = new Map<N, number>();
  const low = new Map<N, number>();
  const stack: N[] = [];
  const onStack = new Set<N>();
  const result: N[][] = [];
  let counter = 0;
  const connect = (node: N): void => {
    index.set(node, counter);
    low.set(node, counter++);
    stack.push(node);
    onStack.add(node);
    for (const successor of node.successors as readonly N[]) {
      if (!set.has(successor) || cut.has(successor)) continue;
      if (!index.has(successor)) {
        connect(successor);
        low.set(node, Math.min(low.get(node)!, low.get(successor)!));
      } else if (onStack.has(successor)) low.set(node, Math.min(low.get(node)!, index.get(successor)!));
    }
    if (low.get(node) !== index.get(node)) return;
    const component: N[] = [];
    for (;;) {
      const member = stack.pop()!;
      onStack.delete(member);
      component.push(member);
      if (member === node) break;
    }
    result.unshift(component);
  };
  for (const root of [...roots].reverse()) if (!index.has(root)) connect(root);
  return result;
}
