/** What this host's WebAssembly has beyond what everything here needs. */
import { Body, Module } from './module.ts';

/** Tail calls (WebAssembly 3.0; V8 since 11.2, so every Node.js since 20). */
export const hasTailCalls = (() => {
  const module = new Module();
  const body = new Body([], []);
  body.returnCall(0);
  module.function(body);
  return WebAssembly.validate(module.encode());
})();
