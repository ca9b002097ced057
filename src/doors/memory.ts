// A source, a sink and a store in this process: `import { memorySource } from "heddle/memory"`.
export { memorySink, memorySource, memorySourceOf, memoryStore } from "../broker/memory/index.ts";
export type {
  MemoryEntry,
  MemoryOutcome,
  MemorySink,
  MemorySinkOptions,
  MemorySource,
  MemorySourceOptions,
  MemoryStore,
} from "../broker/memory/index.ts";
