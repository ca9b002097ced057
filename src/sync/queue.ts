// A queue between tasks: who finds it full or empty waits in line.
//
// An item is handed over: put() gives it to the first getter in line without
// storing it, and get() moves the item of the first putter in line into the
// place that it has just emptied. So getters wait only while the queue is
// empty and putters only while it is full, nobody who comes later goes first,
// and whoever is served has what it waited for, whatever becomes of it next.
import { InvalidStateError } from "../task/errors.ts";
import { currentScope } from "../task/scope.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "../task/wait.ts";
import { QueueEmpty, QueueFull, QueueShutDown } from "./errors.ts";
import { Heap, type Items, naturalOrder, Ring, Stack } from "./items.ts";
import { WaitLine } from "./wait-line.ts";

/** Options of a `Queue`. */
export interface QueueOptions {
  /**
   * How many items may be in the queue before `put` is made to wait. Zero or
   * less: any number.
   *
   * @default Infinity
   */
  readonly maxSize?: number | undefined;
}

/** Options of `Queue.shutdown`. */
export interface ShutdownOptions {
  /** Drops what is in the queue instead of leaving it to be got. @default false */
  readonly immediate?: boolean | undefined;
}

/** Options of a `PriorityQueue`. */
export interface PriorityQueueOptions<T> extends QueueOptions {
  /**
   * Less than zero when `a` comes out before `b`, as for `Array.prototype.sort`.
   *
   * @default by `<`, for numbers, strings, bigints and dates; other items are refused
   */
  readonly compare?: ((a: T, b: T) => number) | undefined;
}

const settled: Promise<void> = Promise.resolve();

// Set inside the class, which alone can see the lines.
let getWait: WaitKind;
let nextWait: WaitKind;
let putWait: WaitKind;
let joinWait: WaitKind;
let nextOf: <T>(queue: Queue<T>, iterator: object) => Promise<IteratorResult<T, undefined>>;
let endNexts: (queue: Queue<never>, iterator: object) => void;

/**
 * First in, first out, with an end: `shutdown()`.
 *
 * An item that is a promise or a task is awaited by `await queue.get()`, as
 * JavaScript does; `for await` and `getNowait()` give it as it is.
 *
 * @example A worker that goes on until the queue is shut down
 * ```ts
 * import { createTask, Queue } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const queue = new Queue<string>({ maxSize: 2 });
 * const worker = createTask(async () => {
 *   const seen: string[] = [];
 *   for await (const item of queue) seen.push(item);
 *   return seen;
 * });
 * for (const item of ["a", "b", "c"]) await queue.put(item);
 * queue.shutdown();
 * assert.deepEqual(await worker, ["a", "b", "c"]);
 * ```
 */
export class Queue<T = unknown> implements AsyncIterable<T, undefined> {
  readonly #maxSize: number;
  readonly #items: Items<T>;
  readonly #getters: WaitLine = new WaitLine();
  readonly #putters: WaitLine = new WaitLine();
  readonly #joiners: WaitLine = new WaitLine();
  /** How many were put and not yet marked with taskDone() */
  #unfinished = 0;
  #shutDown = false;

  /** @throws {RangeError} If `maxSize` is not a number */
  constructor(options: QueueOptions = {}) {
    if (typeof options !== "object") {
      throw new TypeError(
        `Cannot make a queue: its options are an object, as in new Queue({ maxSize: 5 }), current value is ${String(options)}`,
      );
    }
    const { maxSize = Infinity } = options;
    if (typeof maxSize !== "number" || Number.isNaN(maxSize)) {
      throw new RangeError(
        `Cannot make a queue: maxSize must be a number, current value is ${String(maxSize)}`,
      );
    }
    this.#maxSize = maxSize <= 0 ? Infinity : maxSize;
    this.#items = this.makeItems(options);
  }

  /** How many items may be in it; `Infinity` when there is no bound. */
  get maxSize(): number {
    return this.#maxSize;
  }

  /** How many items are in it. */
  get size(): number {
    return this.#items.length;
  }

  /** Whether no item is in it. */
  empty(): boolean {
    return this.#items.length === 0;
  }

  /** Whether `put` would have to wait. */
  full(): boolean {
    return this.#items.length >= this.#maxSize;
  }

  /**
   * Waits for room, and puts `item` into the queue.
   *
   * @throws {QueueShutDown} If the queue is shut down, also while it waits
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** `item` was not put, and the next putter moves up. One
   * that was put before the cancellation came stays put; the cancellation is
   * thrown at the task's next wait.
   */
  put(item: T, options?: WaitOptions): Promise<void> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#shutDown) return Promise.reject(putAfterShutdown());
    if (this.#items.length < this.#maxSize) {
      try {
        this.#add(item);
      } catch (error) {
        return Promise.reject(error as Error);
      }
      return settled;
    }
    const wait = suspend<void>(putWait, this, scope, options, item);
    this.#putters.push(wait);
    return wait.promise;
  }

  /**
   * Puts `item` into the queue if there is room.
   *
   * @throws {QueueFull} If there is none
   * @throws {QueueShutDown} If the queue is shut down
   */
  putNowait(item: T): void {
    if (this.#shutDown) throw putAfterShutdown();
    if (this.#items.length >= this.#maxSize) {
      throw new QueueFull(
        `Cannot put an item: the queue is full (size ${this.#items.length}, maxSize ${this.#maxSize})`,
      );
    }
    this.#add(item);
  }

  /**
   * Waits for an item, and takes it out of the queue.
   *
   * @throws {QueueShutDown} If the queue is shut down and empty, also while it waits
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** nothing was taken, and the next getter moves up. An
   * item that was handed over before the cancellation came is returned; the
   * cancellation is thrown at the task's next wait.
   */
  get(options?: WaitOptions): Promise<T> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#items.length > 0) {
      try {
        return Promise.resolve(this.#take());
      } catch (error) {
        return Promise.reject(error as Error);
      }
    }
    if (this.#shutDown) return Promise.reject(getAfterShutdown());
    const wait = suspend<T>(getWait, this, scope, options);
    this.#getters.push(wait);
    return wait.promise;
  }

  /**
   * Takes an item out of the queue if there is one.
   *
   * @throws {QueueEmpty} If there is none
   * @throws {QueueShutDown} If there is none and the queue is shut down
   */
  getNowait(): T {
    if (this.#items.length > 0) return this.#take();
    if (this.#shutDown) throw getAfterShutdown();
    throw new QueueEmpty("Cannot get an item: the queue is empty");
  }

  /**
   * Says that an item which was got is dealt with; for {@link join}.
   *
   * @throws {InvalidStateError} If that was said of every item that was put
   */
  taskDone(): void {
    if (this.#unfinished === 0) {
      throw new InvalidStateError(
        "Cannot mark an item as done: every item that was put is marked already",
      );
    }
    this.#unfinished--;
    if (this.#unfinished === 0) this.#releaseJoiners();
  }

  /**
   * Waits until {@link taskDone} was called for every item that was put; at once when nothing was.
   *
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** nothing is left behind.
   */
  join(options?: WaitOptions): Promise<void> {
    const refused = refusal(currentScope(), options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#unfinished === 0) return settled;
    const wait = suspend<void>(joinWait, this, currentScope(), options);
    this.#joiners.push(wait);
    return wait.promise;
  }

  /**
   * Ends the queue: whoever puts, or waits to put, gets a `QueueShutDown`. What
   * is in it can still be got, then whoever gets has a `QueueShutDown` too and
   * a `for await` ends. May be called again, also with `immediate`.
   */
  shutdown(options?: ShutdownOptions): void {
    this.#shutDown = true;
    if (options?.immediate === true) {
      // Not below zero: taskDone() may have been called before the item was got.
      this.#unfinished = Math.max(0, this.#unfinished - this.#items.length);
      this.#items.clear();
      if (this.#unfinished === 0) this.#releaseJoiners();
    }
    for (let wait = this.#putters.shift(); wait !== undefined; wait = this.#putters.shift()) {
      wait.reject(putAfterShutdown());
    }
    // Getters wait only when it is empty: there is nothing left for them.
    for (let wait = this.#getters.shift(); wait !== undefined; wait = this.#getters.shift()) {
      if (wait.kind === nextWait) wait.resolve(endOfItems as never);
      else wait.reject(getAfterShutdown());
    }
  }

  /**
   * Gets item after item until the queue is shut down and empty. Whoever uses
   * {@link join} calls {@link taskDone} in the loop.
   *
   * @remarks
   * **When cancelled:** as for {@link get}; the loop is left with the `CancelledError`.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined> {
    return new QueueIterator<T>(this);
  }

  /** `<Queue size=2 maxSize=2 putting=1 unfinished=5 shut down>`; what is zero is left out */
  toString(): string {
    let text = `<${this.constructor.name} size=${this.#items.length}`;
    if (this.#maxSize !== Infinity) text += ` maxSize=${this.#maxSize}`;
    if (this.#getters.length > 0) text += ` getting=${this.#getters.length}`;
    if (this.#putters.length > 0) text += ` putting=${this.#putters.length}`;
    if (this.#joiners.length > 0) text += ` joining=${this.#joiners.length}`;
    if (this.#unfinished > 0) text += ` unfinished=${this.#unfinished}`;
    return `${text}${this.#shutDown ? " shut down" : ""}>`;
  }

  /** Called once, by the constructor. @internal */
  makeItems(_options: QueueOptions): Items<T> {
    return new Ring<T>();
  }

  #add(item: T): void {
    const getter = this.#getters.shift<never>();
    if (getter === undefined) this.#items.push(item);
    this.#unfinished++;
    if (getter !== undefined) handOver(getter, item);
  }

  #take(): T {
    const item = this.#items.take();
    while (this.#items.length < this.#maxSize) {
      const putter = this.#putters.shift<void>();
      if (putter === undefined) break;
      try {
        this.#items.push(putter.item as T);
      } catch (error) {
        // The comparison of a priority queue: that item's failure, not this one's.
        putter.reject(error);
        continue;
      }
      this.#unfinished++;
      putter.resolve(undefined);
    }
    return item;
  }

  #next(iterator: object): Promise<IteratorResult<T, undefined>> {
    const scope = currentScope();
    const refused = refusal(scope, undefined);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#items.length > 0) {
      try {
        return Promise.resolve({ done: false, value: this.#take() });
      } catch (error) {
        return Promise.reject(error as Error);
      }
    }
    if (this.#shutDown) return Promise.resolve(endOfItems);
    const wait = suspend<IteratorResult<T, undefined>>(nextWait, this, scope, undefined, iterator);
    this.#getters.push(wait);
    return wait.promise;
  }

  #releaseJoiners(): void {
    for (let wait = this.#joiners.shift<void>(); wait; wait = this.#joiners.shift<void>()) {
      wait.resolve(undefined);
    }
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
    const leaveGetters = (wait: Wait<never>): void => {
      (wait.target as Queue<never>).#getters.remove(wait);
    };
    getWait = { name: "Queue.get", withdraw: leaveGetters };
    nextWait = { name: "Queue.next", withdraw: leaveGetters };
    putWait = {
      name: "Queue.put",
      withdraw: (wait) => (wait.target as Queue<never>).#putters.remove(wait),
    };
    joinWait = {
      name: "Queue.join",
      withdraw: (wait) => (wait.target as Queue<never>).#joiners.remove(wait),
    };
    nextOf = (queue, iterator) => queue.#next(iterator);
    endNexts = (queue, iterator) => {
      let wait = queue.#getters.first;
      while (wait !== undefined) {
        const behind = wait.behind;
        if (wait.item === iterator) {
          queue.#getters.remove(wait);
          wait.resolve(endOfItems as never);
        }
        wait = behind;
      }
    };
  }
}

/**
 * A queue that gives the item first that was put last.
 *
 * @example
 * ```ts
 * import { LifoQueue } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const queue = new LifoQueue<string>();
 * queue.putNowait("first");
 * queue.putNowait("last");
 * assert.equal(await queue.get(), "last");
 * ```
 */
export class LifoQueue<T = unknown> extends Queue<T> {
  /** @internal */
  override makeItems(_options: QueueOptions): Items<T> {
    return new Stack<T>();
  }
}

/**
 * A queue that gives the smallest item first, and equal ones in the order in
 * which they were put.
 *
 * @example
 * ```ts
 * import { PriorityQueue } from "heddle";
 * import assert from "node:assert/strict";
 *
 * interface Job {
 *   due: number;
 *   name: string;
 * }
 * const jobs = new PriorityQueue<Job>({ compare: (a, b) => a.due - b.due });
 * jobs.putNowait({ due: 20, name: "later" });
 * jobs.putNowait({ due: 10, name: "soon" });
 * assert.equal((await jobs.get()).name, "soon");
 * ```
 */
export class PriorityQueue<T = unknown> extends Queue<T> {
  // Declared for its type: what it does with the options is in makeItems.
  constructor(options: PriorityQueueOptions<T> = {}) {
    super(options);
  }

  /** @internal */
  override makeItems(options: PriorityQueueOptions<T>): Items<T> {
    return new Heap<T>(options.compare ?? naturalOrder);
  }
}

// By hand: return() of an async generator waits for a next() that is pending.
class QueueIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #queue: Queue<T>;
  #left = false;

  constructor(queue: Queue<T>) {
    this.#queue = queue;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#left ? Promise.resolve(endOfItems) : nextOf(this.#queue, this);
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#left = true;
    endNexts(this.#queue as unknown as Queue<never>, this);
    return Promise.resolve(endOfItems);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const endOfItems: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });

function handOver(getter: Wait<never>, item: unknown): void {
  const given = getter.kind === nextWait ? { done: false, value: item } : item;
  getter.resolve(given as never);
}

function putAfterShutdown(): QueueShutDown {
  return new QueueShutDown("Cannot put an item: the queue is shut down");
}

function getAfterShutdown(): QueueShutDown {
  return new QueueShutDown("Cannot get an item: the queue is shut down and nothing is left in it");
}
