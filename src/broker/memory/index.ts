export { memorySource, memorySourceOf } from "./source.ts";
export type { MemoryEntry, MemoryOutcome, MemorySource, MemorySourceOptions } from "./source.ts";
export { memorySink } from "./sink.ts";
export type { MemorySink, MemorySinkOptions } from "./sink.ts";
export { memoryStore } from "./store.ts";
export type { MemoryStore } from "./store.ts";
