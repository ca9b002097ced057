// A source that lives in this process and behaves like an engine: partitions
// that come and go, credit for each, redelivery, fences. It is the double that
// everything engine-like is tested with, so it is strict: whoever breaks the
// contract gets an error, and the error is kept in `errors` as well.
//
// Where a message stands: in its partition's line → in hand (delivered) →
// settled. What was released, or was in hand when its partition or the
// connection went, waits in `returned` until `redeliver` puts it back in line.
import type { DeadLetter, Delivery, Key, Outcome } from "../../message/delivery.ts";
import type {
  Capabilities,
  RevokeReason,
  Source,
  SourceConnection,
  SourceHost,
  StateStore,
} from "../../message/source.ts";
import { memoryStore } from "./store.ts";

/** A message with what an engine knows of it. */
export interface MemoryEntry<M> {
  readonly message: M;
  readonly key?: Key | undefined;
  readonly partition?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** @default 1 */
  readonly attempt?: number | undefined;
  /** What could not be read as a message; see {@link Delivery.invalid} */
  readonly invalid?: Error | undefined;
}

/** What one delivery was settled with. */
export interface MemoryOutcome<M> {
  readonly id: string;
  readonly message: M;
  readonly partition: string;
  readonly attempt: number;
  readonly outcome: Outcome;
  readonly letter?: DeadLetter | undefined;
}

export interface MemorySourceOptions<M> {
  /** @default "memory" */
  readonly name?: string | undefined;
  /** The key that the engine knows; a router needs no `key` of its own then. @default none */
  readonly key?: ((message: M) => Key) | undefined;
  /**
   * How many partitions (`"0"`, `"1"`, …; needs `key`, or entries with keys), or
   * which one a message is in.
   *
   * @default the source says nothing of partitions
   */
  readonly partitions?: number | ((message: M) => string) | undefined;
  /** @default "partition" where there are partitions, else "source" */
  readonly credit?: Capabilities["credit"] | undefined;
  /** @default true */
  readonly durable?: boolean | undefined;
  /** Whether dead letters are kept, in `outcomes`. @default true */
  readonly deadLetters?: boolean | undefined;
  /** Stay open when all is delivered, for `push`, until `end` is called. @default false */
  readonly keepOpen?: boolean | undefined;
  /** `true` makes a store in memory. @default none */
  readonly store?: StateStore | boolean | undefined;
  /** Called before a delivery is settled; a promise makes the settling wait, a throw fails it */
  readonly settling?: ((outcome: MemoryOutcome<M>) => void | Promise<void>) | undefined;
}

/** A {@link Source} in memory, open to be looked at and to be acted on by a test. */
export interface MemorySource<M> extends Source<M> {
  /** What each delivery was settled with, in the order of settling */
  readonly outcomes: readonly MemoryOutcome<M>[];
  /** What broke the contract; empty in a test that passes */
  readonly errors: readonly Error[];
  /** Deliveries that are not settled */
  readonly unsettled: number;
  /** Messages that wait to be delivered, or to be redelivered */
  readonly waiting: number;
  /** What the router sees as the state of the connection; to be set by a test */
  connected: boolean;
  /** Adds messages at the end of the line; entries, if the source was made of entries */
  push(...messages: M[]): void;
  pushEntry(...entries: MemoryEntry<M>[]): void;
  /** Nothing more will be pushed: the source ends once all is delivered. */
  end(): void;
  /** Breaks, as an engine does when it cannot go on. */
  fail(error: unknown): void;
  /**
   * Hands over again, in their order and before what was never delivered, with
   * their attempts counted up: what was released, and what was not settled when
   * its partition was taken away or the source was closed. Partitions that were
   * taken away are assigned again. On a closed source it is for the next `open`.
   *
   * @returns how many messages were put back in line
   */
  redeliver(): number;
  /**
   * Takes a partition away. Resolves when the router has let go of it; what it
   * left unsettled can then be redelivered.
   */
  revoke(partition: string, reason?: RevokeReason): Promise<void>;
  /** Gives a partition that was taken away back, with a greater fence. */
  assign(partition: string): void;
}

/**
 * Makes a source of messages, for tests and for programs whose messages are
 * made in the same process.
 *
 * @param messages Read as far as there is credit, with partitions at once; an array is copied
 *
 * @example Look at what became of each message
 * ```ts
 * import { memorySource } from "heddle/memory";
 *
 * const source = memorySource([{ user: "ada", text: "hello" }]);
 * source.outcomes; // [] until a router has consumed it
 * ```
 */
export function memorySource<M>(
  messages: Iterable<M> = [],
  options: MemorySourceOptions<M> = {},
): MemorySource<M> {
  return new Memory(entriesOf(Array.isArray(messages) ? [...messages] : messages), options);
}

/**
 * The same for messages with what an engine knows of them: key, partition,
 * headers, attempt.
 */
export function memorySourceOf<M>(
  entries: Iterable<MemoryEntry<M>>,
  options: MemorySourceOptions<M> = {},
): MemorySource<M> {
  return new Memory(Array.isArray(entries) ? [...entries] : entries, options);
}

function* entriesOf<M>(messages: Iterable<M>): Generator<MemoryEntry<M>, undefined> {
  for (const message of messages) yield { message };
  return undefined;
}

const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/** One message and where it stands. */
interface Held<M> {
  readonly number: number;
  readonly entry: MemoryEntry<M>;
  readonly partition: string;
  attempt: number;
}

interface Line<M> {
  readonly partition: string;
  state: "ours" | "leaving" | "away";
  fence: bigint;
  credit: number;
  waiting: Held<M>[];
  /** How far `waiting` has been handed over; it is cut when all of it has been */
  next: number;
}

class Memory<M> implements MemorySource<M> {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly store: StateStore | undefined;
  readonly outcomes: MemoryOutcome<M>[] = [];
  readonly errors: Error[] = [];
  connected = true;

  readonly #options: MemorySourceOptions<M>;
  readonly #partitionOf: (entry: MemoryEntry<M>) => string;
  readonly #lines = new Map<string, Line<M>>();
  #messages: Iterator<MemoryEntry<M>> | undefined;
  #keepOpen: boolean;
  #count = 0;
  #lastFence = 0n;
  #returned: Held<M>[] = [];
  readonly #inHand = new Set<MemoryDelivery<M>>();
  #connection: Connection<M> | undefined;
  /** Whether the partitions of this connection have been announced; one that shows up later is on its own */
  #announced = false;

  constructor(entries: Iterable<MemoryEntry<M>>, options: MemorySourceOptions<M>) {
    const { name = "memory", partitions, durable = true, deadLetters = true, store } = options;
    const hasPartitions = partitions !== undefined;
    const { credit = hasPartitions ? "partition" : "source" } = options;
    if (typeof partitions === "number" && !(Number.isInteger(partitions) && partitions >= 1)) {
      throw new RangeError(
        `Cannot make ${name}: partitions must be a whole number >= 1, current value is ${partitions}`,
      );
    }
    if (credit === "partition" && !hasPartitions) {
      throw new RangeError(`Cannot make ${name}: credit by partition needs partitions`);
    }
    this.name = name;
    this.capabilities = Object.freeze({ partitions: hasPartitions, credit, durable, deadLetters });
    this.store = store === true ? memoryStore() : store === false ? undefined : store;
    this.#options = options;
    this.#keepOpen = options.keepOpen ?? false;
    this.#messages = entries[Symbol.iterator]();
    this.#partitionOf = this.#partitioning(partitions);
    if (typeof partitions === "number") {
      for (let n = 0; n < partitions; n++) this.#line(String(n));
    }
    if (!hasPartitions) this.#line("");
  }

  #partitioning(
    partitions: MemorySourceOptions<M>["partitions"],
  ): (entry: MemoryEntry<M>) => string {
    if (partitions === undefined) {
      return ({ partition }) => {
        if (partition === undefined || partition === "") return "";
        throw this.#error(
          `Cannot take a message of partition "${partition}": no partitions were declared`,
        );
      };
    }
    if (typeof partitions === "function") {
      return (entry) => entry.partition ?? partitions(entry.message);
    }
    return (entry) => {
      if (entry.partition !== undefined) return entry.partition;
      const key = this.#keyOf(entry);
      if (key === undefined) {
        throw this.#error(
          "Cannot find a message's partition: it has no key, and no partition of its own",
        );
      }
      return String(hashOf(String(key)) % partitions);
    };
  }

  #keyOf(entry: MemoryEntry<M>): Key | undefined {
    return entry.key ?? this.#options.key?.(entry.message);
  }

  #line(partition: string): Line<M> {
    let line = this.#lines.get(partition);
    if (line === undefined) {
      line = { partition, state: "away", fence: 0n, credit: 0, waiting: [], next: 0 };
      if (!this.capabilities.partitions) line.state = "ours";
      this.#lines.set(partition, line);
    }
    return line;
  }

  get unsettled(): number {
    return this.#inHand.size;
  }

  get waiting(): number {
    let waiting = this.#returned.length;
    for (const line of this.#lines.values()) waiting += line.waiting.length - line.next;
    return waiting;
  }

  push(...messages: M[]): void {
    this.pushEntry(...messages.map((message) => ({ message })));
  }

  pushEntry(...entries: MemoryEntry<M>[]): void {
    if (!this.#keepOpen) {
      throw this.#error(
        `Cannot push to ${this.name}: it has been ended, or was not made with keepOpen`,
      );
    }
    // What the source was made of comes first.
    while (this.#readOne());
    for (const entry of entries) this.#takeIn(entry);
    this.#connection?.wake();
  }

  end(): void {
    this.#keepOpen = false;
    this.#connection?.wake();
  }

  fail(error: unknown): void {
    this.#connection?.host.failed(error);
  }

  redeliver(): number {
    if (this.#connection?.hasEnded === true) {
      throw this.#error(
        `Cannot redeliver from ${this.name}: it has told its host that it has ended (make it with keepOpen, or close it first)`,
      );
    }
    const returned = this.#returned.toSorted((a, b) => a.number - b.number);
    this.#returned = [];
    // Last first, each before what its line still holds, so that the order of sending is kept.
    for (const held of returned.toReversed()) {
      held.attempt += 1;
      const line = this.#line(held.partition);
      line.waiting.splice(0, line.next);
      line.next = 0;
      const place = line.waiting.findIndex((other) => other.number > held.number);
      line.waiting.splice(place === -1 ? line.waiting.length : place, 0, held);
    }
    if (this.#connection !== undefined && this.capabilities.partitions) {
      for (const line of this.#lines.values()) if (line.state === "away") this.#assign(line);
    }
    this.#connection?.wake();
    return returned.length;
  }

  async revoke(partition: string, reason: RevokeReason = "rebalanced"): Promise<void> {
    const line = this.#lines.get(partition);
    const connection = this.#connection;
    if (!this.capabilities.partitions) {
      throw this.#error(`Cannot revoke partition "${partition}": ${this.name} has no partitions`);
    }
    if (line === undefined || line.state !== "ours" || connection === undefined) {
      throw this.#error(`Cannot revoke partition "${partition}": it is not assigned`);
    }
    line.state = reason === "lost" ? "away" : "leaving";
    line.credit = 0;
    // What is lost belongs to somebody else from this very moment.
    if (reason === "lost")
      this.#takeBack((delivery) => delivery.partition === partition, "was lost");
    await connection.host.revoked(partition, reason);
    if (reason !== "lost") {
      line.state = "away";
      this.#takeBack((delivery) => delivery.partition === partition, "was given away");
    }
  }

  assign(partition: string): void {
    const line = this.#line(partition);
    if (this.#connection === undefined || line.state !== "away") {
      throw this.#error(
        `Cannot assign partition "${partition}": ${this.#connection === undefined ? "the source is not open" : "it is assigned"}`,
      );
    }
    this.#assign(line);
    this.#connection.wake();
  }

  #assign(line: Line<M>): void {
    line.state = "ours";
    line.credit = 0;
    line.fence = ++this.#lastFence;
    this.#connection?.host.assigned({ id: line.partition, fence: line.fence });
  }

  /** What these deliveries held may be redelivered; settling them is an error from now on. */
  #takeBack(which: (delivery: MemoryDelivery<M>) => boolean, how: string): void {
    for (const delivery of this.#inHand) {
      if (!which(delivery)) continue;
      this.#inHand.delete(delivery);
      delivery.gone = how;
      this.#returned.push(delivery.held);
    }
  }

  open(host: SourceHost<M>): SourceConnection {
    if (this.#connection !== undefined) {
      throw this.#error(`Cannot open ${this.name}: it is open already`);
    }
    const connection = new Connection(this, host);
    this.#connection = connection;
    return connection;
  }

  // What follows is for the connection and the deliveries only.

  /** @internal */
  assignAll(): void {
    if (!this.capabilities.partitions) return;
    // A partition is known by its messages, so all of them are read.
    while (this.#readOne());
    this.#announced = true;
    for (const line of this.#lines.values()) if (line.state === "away") this.#assign(line);
  }

  /** @internal */
  request(connection: Connection<M>, count: number, partition: string | undefined): void {
    if (connection !== this.#connection) {
      throw this.#error(`Cannot request from ${this.name}: it is closed`);
    }
    if (this.capabilities.credit === "source") {
      connection.credit += count;
      return;
    }
    const line = this.#lines.get(partition ?? "");
    if (line === undefined || line.state === "away") {
      throw this.#error(`Cannot request of partition "${partition ?? ""}": it is not assigned`);
    }
    if (line.state === "ours") line.credit += count;
  }

  /** @internal The next message that may be delivered now. */
  next(connection: Connection<M>): Held<M> | undefined {
    const shared = this.capabilities.credit === "source";
    if (shared && connection.credit < 1) return undefined;
    for (;;) {
      let first: Line<M> | undefined;
      for (const line of this.#lines.values()) {
        if (line.state !== "ours" || line.next === line.waiting.length) continue;
        if (!shared && line.credit < 1) continue;
        if (first === undefined || numberOf(line) < numberOf(first)) first = line;
      }
      if (first !== undefined) {
        if (shared) connection.credit -= 1;
        else first.credit -= 1;
        const held = first.waiting[first.next++];
        if (first.next === first.waiting.length) {
          first.waiting = [];
          first.next = 0;
        }
        return held;
      }
      if (!this.#readOne()) return undefined;
    }
  }

  /** @internal Whether nothing more will ever be delivered over this connection. */
  isDone(): boolean {
    if (this.#keepOpen || this.#returned.length > 0) return false;
    for (const line of this.#lines.values()) if (line.next < line.waiting.length) return false;
    return !this.#readOne();
  }

  /** Takes the next of the messages that the source was made of into its line; false when there are no more. */
  #readOne(): boolean {
    const item = this.#messages?.next();
    if (item === undefined || item.done === true) {
      this.#messages = undefined;
      return false;
    }
    this.#takeIn(item.value);
    return true;
  }

  #takeIn(entry: MemoryEntry<M>): void {
    const partition = this.#partitionOf(entry);
    const key = this.#keyOf(entry);
    const line = this.#line(partition);
    line.waiting.push({
      number: ++this.#count,
      entry: key === entry.key ? entry : { ...entry, key },
      partition,
      attempt: entry.attempt ?? 1,
    });
    // A partition that shows up while the source is open is assigned then.
    if (this.#announced && line.state === "away" && line.fence === 0n) this.#assign(line);
  }

  /** @internal */
  handOver(held: Held<M>): MemoryDelivery<M> {
    const delivery = new MemoryDelivery(this, held);
    this.#inHand.add(delivery);
    return delivery;
  }

  /** @internal */
  settle(
    delivery: MemoryDelivery<M>,
    outcome: Outcome,
    letter: DeadLetter | undefined,
  ): void | Promise<void> {
    if (delivery.settled !== undefined) {
      throw this.#refusal(delivery, outcome, `it is settled as "${delivery.settled}" already`);
    }
    if (delivery.gone !== undefined) {
      throw this.#refusal(delivery, outcome, `partition "${delivery.partition}" ${delivery.gone}`);
    }
    if (outcome === "dead" && letter !== undefined && !this.capabilities.deadLetters) {
      throw this.#refusal(delivery, outcome, "it cannot keep dead letters");
    }
    delivery.settled = outcome;
    const { id, message, partition, attempt } = delivery;
    const record: MemoryOutcome<M> = Object.freeze({
      id,
      message,
      partition,
      attempt,
      outcome,
      ...(letter === undefined ? {} : { letter }),
    });
    const waiting = this.#options.settling?.(record);
    if (waiting === undefined) return this.#record(delivery, record);
    return waiting.then(() => this.#record(delivery, record));
  }

  #record(delivery: MemoryDelivery<M>, record: MemoryOutcome<M>): void {
    // While it was waited for, its partition or the connection may have gone.
    if (!this.#inHand.delete(delivery)) {
      throw this.#refusal(
        delivery,
        record.outcome,
        `partition "${delivery.partition}" ${delivery.gone}`,
      );
    }
    this.outcomes.push(record);
    if (record.outcome === "release") this.#returned.push(delivery.held);
  }

  #refusal(delivery: MemoryDelivery<M>, outcome: Outcome, why: string): Error {
    return this.#error(`Cannot settle ${delivery.id} of ${this.name} as "${outcome}": ${why}`);
  }

  /** @internal */
  disconnect(connection: Connection<M>): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#announced = false;
    this.#takeBack(() => true, "is closed");
    for (const line of this.#lines.values()) {
      line.credit = 0;
      if (this.capabilities.partitions) line.state = "away";
    }
  }

  #error(message: string): Error {
    const error = new Error(message);
    this.errors.push(error);
    return error;
  }
}

class Connection<M> implements SourceConnection {
  readonly host: SourceHost<M>;
  credit = 0;
  hasEnded = false;
  readonly #source: Memory<M>;
  #state: "open" | "closing" | "closed" = "open";
  #woken = false;
  #closed: Promise<void> | undefined;
  readonly #running: Promise<void>;
  #wake: (() => void) | undefined;

  constructor(source: Memory<M>, host: SourceHost<M>) {
    this.#source = source;
    this.host = host;
    this.#running = this.#run();
  }

  get connected(): boolean {
    return this.#source.connected;
  }

  request(count: number, partition?: string): void {
    this.#source.request(this, count, partition);
    this.wake();
  }

  close(wait?: Promise<void>): Promise<void> {
    this.#closed ??= this.#close(wait);
    return this.#closed;
  }

  async #close(wait: Promise<void> | undefined): Promise<void> {
    this.#state = "closing";
    this.wake();
    await this.#running;
    try {
      await wait;
    } finally {
      this.#state = "closed";
      this.#source.disconnect(this);
    }
  }

  wake(): void {
    this.#woken = true;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  // One loop from open to close, so that nothing is delivered from inside
  // `open`, `request` or `push`.
  async #run(): Promise<void> {
    await Promise.resolve();
    try {
      if (this.#state === "open") this.#source.assignAll();
      while (this.#state === "open" && !this.hasEnded) {
        this.#woken = false;
        this.#deliver();
        if (!this.#woken) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } catch (error) {
      if (this.#state === "open") this.host.failed(error);
    }
  }

  #deliver(): void {
    for (;;) {
      if (this.#state !== "open") return;
      const held = this.#source.next(this);
      if (held === undefined) break;
      this.host.deliver(this.#source.handOver(held));
    }
    if (!this.hasEnded && this.#source.isDone()) {
      this.hasEnded = true;
      this.host.ended();
    }
  }
}

class MemoryDelivery<M> implements Delivery<M> {
  readonly message: M;
  readonly key: Key | undefined;
  readonly invalid: Error | undefined;
  readonly id: string;
  readonly attempt: number;
  readonly partition: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly held: Held<M>;
  settled: Outcome | undefined;
  /** Why it can no longer be settled */
  gone: string | undefined;
  readonly #source: Memory<M>;

  constructor(source: Memory<M>, held: Held<M>) {
    this.#source = source;
    this.held = held;
    this.message = held.entry.message;
    this.key = held.entry.key;
    this.invalid = held.entry.invalid;
    this.id = String(held.number);
    this.attempt = held.attempt;
    this.partition = held.partition;
    this.headers = held.entry.headers ?? noHeaders;
  }

  get idempotencyKey(): string {
    return `${this.#source.name}:${this.id}`;
  }

  get redelivered(): boolean {
    return this.attempt > 1;
  }

  settle(outcome: Outcome, letter?: DeadLetter): void | Promise<void> {
    return this.#source.settle(this, outcome, letter);
  }
}

function numberOf(line: Line<unknown>): number {
  return line.waiting[line.next]?.number ?? Infinity;
}

/** FNV-1a: spreads keys evenly, and the same way in every run. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}
