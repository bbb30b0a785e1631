export * from '../src/conformance/tiny-elf.ts';
