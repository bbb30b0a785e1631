export * from '../src/conformance/random.ts';
