export * from '../src/conformance/fake-processor.ts';
