// Makes a source of any iterable or async iterable. One loop pulls an item for
// each delivery that was requested and no further, so an endless or a costly
// iterable is read only as far as it is handled.
//
// The loop is started by `open` and lives until the end: an iterator's `next()`
// always runs in the async context of whoever consumes it, never in that of the
// session whose handler has just made room.
import { nextTurn, turnMs } from "../task/clock.ts";
import type { Delivery, Key } from "./delivery.ts";
import type { Capabilities, Source, SourceConnection, SourceHost } from "./source.ts";

/** What `consume` takes. */
export type Consumable<M> = Source<M> | Iterable<M> | AsyncIterable<M>;

/** Nothing is kept: what was handed over and not handled is gone with the process. */
const capabilities: Capabilities = Object.freeze({
  partitions: false,
  credit: "source",
  durable: false,
  deadLetters: false,
});

/** Items handed over between two looks at how long this turn of the event loop has lasted. */
const burst = 256;

/** How long timers, sockets and signals may be kept waiting, in milliseconds. */
const longestTurnMs = 5;

const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/**
 * Gives a source as it is, and makes one of an iterable.
 *
 * @throws {TypeError} If `input` is neither; also if it is a string, whose
 * characters are hardly meant
 */
export function toSource<M>(input: Consumable<M>): Source<M> {
  if (typeof input === "object" && input !== null) {
    if ("open" in input && typeof input.open === "function") return input;
    if (Symbol.asyncIterator in input || Symbol.iterator in input) return iterableSource(input);
  }
  const given =
    typeof input === "string" ? "a string" : input === null ? "null" : `a ${typeof input}`;
  throw new TypeError(
    `Cannot consume ${given}: pass a source, an iterable or an async iterable` +
      (typeof input === "function" ? " (call the generator function)" : ""),
  );
}

/**
 * Makes a source of `iterable`, which is read once, one item for each delivery
 * requested.
 *
 * Closing it calls the iterator's `return()` and does not wait for it. An item
 * that still comes after closing goes to the host's `aborted`.
 */
export function iterableSource<M>(
  iterable: Iterable<M> | AsyncIterable<M>,
  options: { readonly name?: string | undefined } = {},
): Source<M> {
  const { name = "iterable" } = options;
  return {
    name,
    capabilities,
    open(host) {
      const reader = new IterableReader(host, name, iterable);
      void reader.run();
      return reader;
    },
  };
}

class IterableReader<M> implements SourceConnection {
  readonly #host: SourceHost<M>;
  readonly #name: string;
  readonly #iterable: Iterable<M> | AsyncIterable<M>;
  #iterator: Iterator<M> | AsyncIterator<M> | undefined;
  #state: "open" | "ended" | "closed" = "open";
  #credit = 0;
  #count = 0;
  #wake: (() => void) | undefined;

  constructor(host: SourceHost<M>, name: string, iterable: Iterable<M> | AsyncIterable<M>) {
    this.#host = host;
    this.#name = name;
    this.#iterable = iterable;
  }

  request(count: number): void {
    this.#credit += count;
    this.#wakeUp();
  }

  close(wait?: Promise<void>): Promise<void> {
    if (this.#state === "open") {
      this.#state = "closed";
      this.#wakeUp();
      this.#return();
    }
    return wait ?? Promise.resolve();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async run(): Promise<void> {
    try {
      // Nothing is delivered, and no user's code runs, inside `open`.
      await this.#creditGiven();
      if (this.#state !== "open") return;
      const iterable = this.#iterable;
      if (Symbol.asyncIterator in iterable) {
        await this.#readAsync((this.#iterator = iterable[Symbol.asyncIterator]()));
      } else {
        await this.#read((this.#iterator = iterable[Symbol.iterator]()));
      }
    } catch (error) {
      // After closing a failure is nobody's, like that of any wait that was abandoned.
      if (this.#state !== "open") return;
      this.#state = "ended";
      this.#host.failed(error);
    }
  }

  async #read(iterator: Iterator<M>): Promise<void> {
    let untilTurn = burst;
    for (;;) {
      if (this.#credit < 1 && this.#state === "open") await this.#creditGiven();
      if (this.#state !== "open") return;
      const item = iterator.next();
      if (this.#hand(item)) return;
      if (--untilTurn === 0) {
        untilTurn = burst;
        if (turnMs() > longestTurnMs) await new Promise<void>(nextTurn);
      }
    }
  }

  async #readAsync(iterator: AsyncIterator<M>): Promise<void> {
    let untilTurn = burst;
    for (;;) {
      if (this.#credit < 1 && this.#state === "open") await this.#creditGiven();
      if (this.#state !== "open") return;
      if (this.#hand(await iterator.next())) return;
      if (--untilTurn === 0) {
        untilTurn = burst;
        if (turnMs() > longestTurnMs) await new Promise<void>(nextTurn);
      }
    }
  }

  /** True when that was the last one. */
  #hand(item: IteratorResult<M>): boolean {
    if (typeof item !== "object" || item === null) {
      throw new TypeError(
        `Cannot consume ${this.#name}: its next() must give an object with value and done, and it gave ${String(item)}`,
      );
    }
    if (this.#state !== "open") {
      if (item.done === true) return true;
      this.#host.aborted?.(new Item(item.value, ++this.#count, this.#name));
      // For a generator that was running when `close` called its `return()`.
      this.#return();
      return true;
    }
    if (item.done === true) {
      this.#state = "ended";
      this.#host.ended();
      return true;
    }
    this.#credit -= 1;
    this.#host.deliver(new Item(item.value, ++this.#count, this.#name));
    return false;
  }

  #creditGiven(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #return(): void {
    try {
      const returned: unknown = this.#iterator?.return?.();
      // What it rejects with is nobody's: whoever consumed it has gone.
      if (returned instanceof Promise) returned.catch(() => {});
    } catch {
      // A generator that runs at this very moment cannot be returned; #hand does it.
    }
  }
}

class Item<M> implements Delivery<M> {
  readonly message: M;
  readonly #number: number;
  readonly #source: string;

  constructor(message: M, number: number, source: string) {
    this.message = message;
    this.#number = number;
    this.#source = source;
  }

  get key(): Key | undefined {
    return undefined;
  }
  get invalid(): Error | undefined {
    return undefined;
  }
  get id(): string {
    return String(this.#number);
  }
  get attempt(): number {
    return 1;
  }
  get partition(): string {
    return "";
  }
  get headers(): Readonly<Record<string, string>> {
    return noHeaders;
  }
  get idempotencyKey(): string {
    return `${this.#source}:${this.#number}`;
  }
  get redelivered(): boolean {
    return false;
  }

  settle(): void {}
}
