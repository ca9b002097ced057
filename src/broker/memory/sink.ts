import type { Sink } from "../../message/source.ts";

/** A {@link Sink} that keeps what is written to it. */
export interface MemorySink<V> extends Sink<V> {
  /** What was written, in order */
  readonly values: readonly V[];
  readonly closed: boolean;
}

export interface MemorySinkOptions<V> {
  readonly name?: string | undefined;
  /** Called with each value before it is kept; a promise makes the writer wait, a throw fails the write */
  readonly writing?: ((value: V) => void | Promise<void>) | undefined;
}

/**
 * Makes a sink that collects values.
 *
 * @example Look at what was written
 * ```ts
 * import { memorySink } from "heddle/memory";
 * import assert from "node:assert/strict";
 *
 * const sink = memorySink<number>();
 * await sink.write(1);
 * assert.deepEqual(sink.values, [1]);
 * ```
 */
export function memorySink<V = unknown>(options: MemorySinkOptions<V> = {}): MemorySink<V> {
  const { name = "memory", writing } = options;
  const values: V[] = [];
  let closed = false;

  function keep(value: V): void {
    if (closed) throw new Error(`Cannot write to ${name}: it is closed`);
    values.push(value);
  }

  return {
    name,
    get values() {
      return values;
    },
    get closed() {
      return closed;
    },
    write(value) {
      if (closed) throw new Error(`Cannot write to ${name}: it is closed`);
      const waiting = writing?.(value);
      if (waiting === undefined) return keep(value);
      return waiting.then(() => keep(value));
    },
    close() {
      closed = true;
      return Promise.resolve();
    },
  };
}
