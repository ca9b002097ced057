// Saved state in this process. States are copied on the way in and out, as a
// real store would: a handler that goes on changing what it saved, or saves
// what cannot be stored, shows up in a test and not in production.
import type { StateStore } from "../../message/source.ts";

/** A {@link StateStore} in memory, open to be looked at. */
export interface MemoryStore extends StateStore {
  /** A copy of what is stored, by key */
  readonly states: ReadonlyMap<string | number, unknown>;
  load(key: string | number): unknown;
  save(key: string | number, state: unknown): void;
  delete(key: string | number): void;
  /** 1 at first, and one more each time that it is asked for */
  fence(key: string | number): bigint;
}

/** Makes a store that lives as long as it is held. */
export function memoryStore(): MemoryStore {
  const states = new Map<string | number, unknown>();
  const fences = new Map<string | number, bigint>();
  return {
    get states() {
      return structuredClone(states);
    },
    load: (key) => structuredClone(states.get(key)),
    save(key, state) {
      states.set(key, structuredClone(state));
    },
    delete(key) {
      states.delete(key);
    },
    fence(key) {
      const fence = (fences.get(key) ?? 0n) + 1n;
      fences.set(key, fence);
      return fence;
    },
  };
}
