// One guard around every source. Sources are written by many hands (ours, and
// users'), and the router's promises rest on what they promise: a delivery is
// settled once, nothing comes that was not asked for, nothing comes after the
// end. What breaks this is named here, where it happens, and not three floors up.
import type { DeadLetter, Delivery, Key, Outcome } from "./delivery.ts";
import type {
  Capabilities,
  Partition,
  RevokeReason,
  Source,
  SourceConnection,
  SourceHost,
  StateStore,
} from "./source.ts";

export interface GuardOptions {
  /**
   * Told of every breach, besides the error that the one who caused it gets.
   *
   * @default a process warning
   */
  readonly report?: ((error: Error) => void) | undefined;
}

/**
 * Puts the guard around `source`.
 *
 * It may be opened once. A second `settle` of a delivery, a `settle` after its
 * partition was lost or after the source was closed, and a delivery beyond what
 * was requested or after the end are errors for whoever does it, and reported.
 * A delivery that comes after `close` goes to the host's `aborted`.
 */
export function guardSource<M>(source: Source<M>, options: GuardOptions = {}): Source<M> {
  return new GuardedSource(source, options.report ?? warn);
}

function warn(error: Error): void {
  process.emitWarning(error.message, { type: "HeddleSourceWarning" });
}

class GuardedSource<M> implements Source<M> {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly store: StateStore | undefined;
  readonly #source: Source<M>;
  readonly #report: (error: Error) => void;
  #opened = false;

  constructor(source: Source<M>, report: (error: Error) => void) {
    this.name = source.name;
    this.capabilities = source.capabilities;
    this.store = source.store;
    this.#source = source;
    this.#report = report;
  }

  open(host: SourceHost<M>): SourceConnection | Promise<SourceConnection> {
    if (this.#opened) throw new Error(`Cannot open ${this.name}: it has been opened already`);
    this.#opened = true;
    const watch = new Watch(this.#source, host, this.#report);
    const connection = this.#source.open(watch);
    if (!("then" in connection)) return watch.connect(connection);
    return connection.then((opened) => watch.connect(opened));
  }
}

/** How many deliveries are still allowed: one for the source, or one for each partition. */
interface Purse {
  credit: number;
}

/** What is known of a partition while it is ours, and as long as a delivery of it is out. */
interface Place {
  readonly partition: string;
  readonly source: string;
  readonly report: (error: Error) => void;
  readonly purse: Purse;
  state: "ours" | "leaving" | "lost" | "gone";
  unsettled: number;
}

class Watch<M> implements SourceHost<M>, SourceConnection {
  readonly #source: Source<M>;
  readonly #host: SourceHost<M>;
  readonly #report: (error: Error) => void;
  readonly #purse: Purse | undefined;
  readonly #places = new Map<string, Place>();
  /** Partitions that were ours once: a request for one of them may cross its revocation */
  readonly #left = new Set<string>();
  #last: Place | undefined;
  #connection: SourceConnection | undefined;
  #state: "open" | "ended" | "closing" | "closed" = "open";
  #closed: Promise<void> | undefined;

  constructor(source: Source<M>, host: SourceHost<M>, report: (error: Error) => void) {
    this.#source = source;
    this.#host = host;
    this.#report = report;
    this.#purse = source.capabilities.credit === "source" ? { credit: 0 } : undefined;
    if (!source.capabilities.partitions) this.#last = this.#open("");
  }

  connect(connection: SourceConnection): SourceConnection {
    this.#connection = connection;
    return this;
  }

  get connected(): boolean {
    return this.#connection?.connected ?? true;
  }

  request(count: number, partition?: string): void {
    if (!(count >= 1) || (count !== Infinity && !Number.isInteger(count))) {
      throw new RangeError(
        `Cannot request from ${this.#source.name}: count must be a whole number >= 1, current value is ${count}`,
      );
    }
    if (this.#state === "ended") return;
    if (this.#state !== "open") {
      this.#report(new Error(`Cannot request from ${this.#source.name}: it is closed`));
      return;
    }
    if (this.#purse !== undefined) {
      this.#purse.credit += count;
      this.#opened().request(count);
      return;
    }
    const place = this.#places.get(partition ?? "");
    if (place === undefined || place.state !== "ours") {
      if (place === undefined && !this.#left.has(partition ?? "")) {
        this.#report(
          new Error(
            `Cannot request from ${this.#source.name}: partition "${partition ?? ""}" was never assigned`,
          ),
        );
      }
      return;
    }
    place.purse.credit += count;
    this.#opened().request(count, place.partition);
  }

  close(wait?: Promise<void>): Promise<void> {
    this.#closed ??= this.#close(wait);
    return this.#closed;
  }

  async #close(wait: Promise<void> | undefined): Promise<void> {
    this.#state = "closing";
    try {
      await this.#opened().close(wait);
    } finally {
      this.#state = "closed";
      for (const place of this.#places.values()) place.state = "gone";
    }
  }

  #opened(): SourceConnection {
    if (this.#connection === undefined) {
      throw new Error(`Cannot use ${this.#source.name}: it is not open yet`);
    }
    return this.#connection;
  }

  assigned(partition: Partition): void {
    if (this.#state !== "open") return;
    if (!this.#source.capabilities.partitions) {
      throw this.#breach(`it assigned partition "${partition.id}", and says that it has none`);
    }
    if (this.#places.has(partition.id)) {
      throw this.#breach(`it assigned partition "${partition.id}" twice`);
    }
    this.#open(partition.id);
    this.#host.assigned(partition);
  }

  #open(partition: string): Place {
    const place: Place = {
      partition,
      source: this.#source.name,
      report: this.#report,
      purse: this.#purse ?? { credit: 0 },
      state: "ours",
      unsettled: 0,
    };
    this.#places.set(partition, place);
    return place;
  }

  async revoked(partition: string, reason: RevokeReason): Promise<void> {
    const place = this.#places.get(partition);
    if (place === undefined || place.state === "leaving") {
      throw this.#breach(`it revoked partition "${partition}", which it had not assigned`);
    }
    place.state = reason === "lost" ? "lost" : "leaving";
    try {
      await this.#host.revoked(partition, reason);
    } finally {
      if (this.#last === place) this.#last = undefined;
      this.#places.delete(partition);
      this.#left.add(partition);
      const { unsettled } = place;
      if (place.state === "leaving") {
        place.state = "gone";
        if (unsettled > 0) {
          this.#report(
            new Error(
              `Cannot give partition "${partition}" of ${this.#source.name} away cleanly: ` +
                `${unsettled} of its deliveries are not settled`,
            ),
          );
        }
      }
    }
  }

  deliver(delivery: Delivery<M>): void {
    if (this.#state !== "open") {
      this.#deliverLate(delivery);
      return;
    }
    const { partition } = delivery;
    let place = this.#last;
    if (place === undefined || place.partition !== partition) {
      place = this.#places.get(partition);
      if (place === undefined) {
        throw this.#breach(
          `it delivered ${delivery.id} of partition "${partition}", which it had not assigned`,
        );
      }
      this.#last = place;
    }
    if (place.state !== "ours") {
      throw this.#breach(
        `it delivered ${delivery.id} of partition "${partition}" after it had revoked it`,
      );
    }
    if (place.purse.credit < 1) {
      throw this.#breach(`it delivered ${delivery.id} beyond what was requested`);
    }
    place.purse.credit -= 1;
    place.unsettled += 1;
    this.#host.deliver(new GuardedDelivery(delivery, place));
  }

  aborted(delivery: Delivery<M>): void {
    const place = this.#stray(delivery.partition);
    const guarded = new GuardedDelivery(delivery, place);
    if (this.#host.aborted === undefined) void guarded.settle("release");
    else this.#host.aborted(guarded);
  }

  #deliverLate(delivery: Delivery<M>): void {
    if (this.#state === "ended") {
      throw this.#breach(`it delivered ${delivery.id} after it had ended`);
    }
    // A message must not get lost for the source's mistake: it goes the way
    // of one that could not be held back.
    this.#report(
      new Error(
        `Cannot trust ${this.#source.name}: it delivered ${delivery.id} after it was closed`,
      ),
    );
    this.aborted(delivery);
  }

  /** What comes after the end belongs to no partition that could be closed or lost. */
  #stray(partition: string): Place {
    return {
      partition,
      source: this.#source.name,
      report: this.#report,
      purse: { credit: 0 },
      state: "ours",
      unsettled: 1,
    };
  }

  ended(): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#host.ended();
  }

  failed(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#host.failed(error);
  }

  /** The source has broken its word: it is stopped, since nothing that it says can be relied on. */
  #breach(how: string): Error {
    const error = new Error(`Cannot trust ${this.#source.name}: ${how}`);
    this.#report(error);
    this.failed(error);
    return error;
  }
}

class GuardedDelivery<M> implements Delivery<M> {
  readonly #delivery: Delivery<M>;
  readonly #place: Place;
  #settled: Outcome | undefined;

  constructor(delivery: Delivery<M>, place: Place) {
    this.#delivery = delivery;
    this.#place = place;
  }

  // Getters, not copied fields: most handlers never look at an id, and making
  // the text of a line number costs more than the guard itself.
  get message(): M {
    return this.#delivery.message;
  }
  get key(): Key | undefined {
    return this.#delivery.key;
  }
  get invalid(): Error | undefined {
    return this.#delivery.invalid;
  }
  get id(): string {
    return this.#delivery.id;
  }
  get attempt(): number {
    return this.#delivery.attempt;
  }
  get partition(): string {
    return this.#delivery.partition;
  }
  get headers(): Readonly<Record<string, string>> {
    return this.#delivery.headers;
  }
  get idempotencyKey(): string {
    return this.#delivery.idempotencyKey;
  }
  get redelivered(): boolean {
    return this.#delivery.redelivered;
  }

  settle(outcome: Outcome, letter?: DeadLetter): void | Promise<void> {
    const place = this.#place;
    if (this.#settled !== undefined) {
      throw this.#refuse(outcome, `it is settled as "${this.#settled}" already`);
    }
    if (place.state === "lost") {
      throw this.#refuse(outcome, `its partition "${place.partition}" was lost`);
    }
    if (place.state === "gone") {
      throw this.#refuse(outcome, "its source is closed, or its partition was given away");
    }
    this.#settled = outcome;
    place.unsettled -= 1;
    return this.#delivery.settle(outcome, letter);
  }

  #refuse(outcome: Outcome, why: string): Error {
    const { source, report } = this.#place;
    const error = new Error(`Cannot settle ${this.id} of ${source} as "${outcome}": ${why}`);
    report(error);
    return error;
  }
}
