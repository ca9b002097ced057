// One source that is being consumed: how much it may send, what of it is not
// settled yet, and which partitions it has.
//
// It never waits for one key's room. What does not fit an inbox is held in its
// key's line, and only when the router holds `maxHeld` messages (or, where the
// engine gives credit by partition, a partition holds its share) no more is
// asked for.
import { guardSource } from "../message/guard.ts";
import type { DeadLetterReason, Delivery, Key } from "../message/delivery.ts";
import { toSource, type Consumable } from "../message/iterable.ts";
import type {
  Partition,
  RevokeReason,
  Source,
  SourceConnection,
  SourceHost,
} from "../message/source.ts";
import { nextTurn, turnMs } from "../task/clock.ts";
import { currentScope } from "../task/scope.ts";
import { refusal, suspend, type Wait, type WaitKind, type WaitOptions } from "../task/wait.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { InvalidMessageError, RouterClosedError, show } from "./errors.ts";
import { Envelope, SOURCE_END_MARK } from "./inbox.ts";
import { handOver } from "./hand-over.ts";
import { report } from "./report.ts";

// How many deliveries are asked for ahead: enough to keep a reader busy, few
// enough that what is asked for and not there yet does not matter to maxHeld.
const mostAhead = 1_024;
const longTurnMs = 5;
// One part in so many of maxHeld is kept for the partitions' own shares.
const keptShare = 8;

interface OwnPartition {
  readonly id: string;
  readonly fence: bigint | undefined;
  state: "ours" | "leaving" | "lost";
  asked: number;
  unsettled: number;
  /** Of these: parked, or kept until their session is over */
  resting: number;
}

const consumeWait: WaitKind = {
  name: "SessionRouter.consume",
  withdraw(wait) {
    (wait.target as Feed).abort();
  },
};

let feeds = 0;

/** @internal */
export class Feed implements SourceHost {
  readonly id: number = ++feeds;
  readonly source: Source;
  /** Whether dead letters of it are kept by its engine */
  readonly keepsLetters: boolean;
  /** Whether it can take back what is released */
  readonly partitioned: boolean;
  readonly #byPartition: boolean;
  readonly partitions: Map<string, OwnPartition> = new Map();
  /** It has ended by itself */
  hasEnded = false;
  /** Whether its sessions are its own: handed over with a partition, or ended with it */
  readonly ownsSessions: boolean;
  /** Some partition of it can bring nothing more for want of room */
  blocked = false;
  readonly #d: Dispatcher;
  readonly #done: Wait<void>;
  #connection: SourceConnection | undefined = undefined;
  #state: "opening" | "open" | "closing" | "closed" = "opening";
  #failure: { readonly error: unknown } | undefined = undefined;
  #asked = 0;
  #unsettled = 0;
  #parked = 0;
  #kept = 0;
  #askScheduled = false;
  /** All of it is handed over: what still comes goes back */
  #leaving = false;
  #opening: Promise<SourceConnection> | undefined = undefined;
  #closed: Promise<void> | undefined = undefined;
  #allSettled: (() => void) | undefined = undefined;

  constructor(d: Dispatcher, source: Source, done: Wait<void>) {
    this.#d = d;
    this.#done = done;
    this.source = guardSource(source);
    this.keepsLetters = source.capabilities.deadLetters;
    this.partitioned = source.capabilities.partitions;
    this.#byPartition = source.capabilities.credit === "partition";
    this.ownsSessions = this.partitioned || d.settings.ack === "session";
  }

  get connected(): boolean {
    return this.#connection?.connected ?? this.#state === "open";
  }

  async open(): Promise<void> {
    try {
      const opening = this.source.open(this);
      if (opening instanceof Promise) this.#opening = opening;
      this.#connection = opening instanceof Promise ? await opening : opening;
      if (this.#state === "opening") this.#state = "open";
      if (this.#state === "open") this.#ask();
      else await this.close();
    } catch (error) {
      this.failed(error);
    }
  }

  // What the source says.

  assigned(partition: Partition): void {
    const { id, fence } = partition;
    const state = this.#leaving ? "leaving" : "ours";
    this.partitions.set(id, { id, fence, state, asked: 0, unsettled: 0, resting: 0 });
    this.#askSoon();
  }

  async revoked(partition: string, reason: RevokeReason): Promise<void> {
    const own = this.partitions.get(partition);
    if (own === undefined) return;
    own.state = reason === "lost" ? "lost" : "leaving";
    // What it was asked for will not come any more.
    if (this.#byPartition) this.#asked -= own.asked;
    own.asked = 0;
    await handOver(this.#d, this, partition, this.#d.settings.graceMs, reason === "lost");
    if (this.partitions.get(partition) === own) this.partitions.delete(partition);
    this.#askSoon();
  }

  deliver(delivery: Delivery): void {
    const own = this.partitions.get(delivery.partition);
    if (own !== undefined) {
      own.asked--;
      own.unsettled++;
    }
    this.#asked--;
    this.#unsettled++;
    if (this.#asked <= 0 || (this.#byPartition && (own?.asked ?? 0) <= 0)) this.#askSoon();
    if (this.#d.settings.schema === undefined) this.#take(delivery, delivery.message);
    else this.#d.validated(delivery.message, (result) => this.#validated(delivery, result));
  }

  #validated(
    delivery: Delivery,
    result: { readonly value?: unknown; readonly error?: unknown },
  ): void {
    if (result.error === undefined) this.#take(delivery, result.value);
    else this.#bury(delivery, undefined, "invalid", result.error);
  }

  /** A partition of it is being handed over, or all of them: no handler gets anything more of it. */
  #isLeaving(partition: string): boolean {
    return this.#leaving || this.partitions.get(partition)?.state !== "ours";
  }

  #giveBack(delivery: Delivery): void {
    const envelope = new Envelope(delivery.message, 0, this.#d.time());
    envelope.from(this, delivery);
    this.#d.ledger.release(envelope, undefined);
  }

  #take(delivery: Delivery, message: unknown): void {
    if (this.partitioned && this.#isLeaving(delivery.partition)) {
      this.#giveBack(delivery);
      return;
    }
    let key: Key | undefined;
    if (this.#d.givesUp) {
      this.#bury(delivery, undefined, "drained");
      return;
    }
    try {
      if (delivery.invalid !== undefined) throw delivery.invalid;
      key = this.#d.keyOf(message, delivery);
      const envelope = this.#d.envelope(message);
      envelope.from(this, delivery);
      if (delivery.attempt > 1) envelope.tries = delivery.attempt - 1;
      this.#checkPartition(key, delivery);
      if (this.#d.eventTime === undefined) this.#d.admit(key, envelope, "held");
      else {
        this.#d.eventTime.hold(key, envelope, delivery.partition, this.#d.timeOf(message));
      }
      if (this.ownsSessions) this.#d.fed(key, this, delivery.partition);
    } catch (error) {
      this.#bury(delivery, key, "invalid", error);
    }
  }

  /** A key is in one partition: its sessions would have two owners else. */
  #checkPartition(key: Key, delivery: Delivery): void {
    if (!this.partitioned) return;
    const extra = this.#d.sessions.get(key)?.extra;
    if (extra?.partition === undefined || extra.feed !== this) return;
    if (extra.partition === delivery.partition) return;
    throw new InvalidMessageError(
      `Cannot route a message of partition "${delivery.partition}": its key ${show(key)} is live in partition "${extra.partition}"`,
    );
  }

  #bury(delivery: Delivery, key: Key | undefined, reason: DeadLetterReason, error?: unknown): void {
    const envelope = new Envelope(delivery.message, 0, this.#d.time());
    envelope.from(this, delivery);
    this.#d.bury(envelope, key, reason, error);
  }

  aborted(delivery: Delivery): void {
    this.#unsettled++;
    let key: Key | undefined;
    try {
      key = this.#d.keyOf(delivery.message, delivery);
    } catch {
      key = undefined;
    }
    this.#bury(delivery, key, "aborted");
  }

  ended(): void {
    this.hasEnded = true;
    this.#d.sourcesEnded++;
    // What is being validated comes before the end.
    this.#d.afterValidation(() => {
      this.#d.eventTime?.end(this, true);
      if (this.#d.settings.ack === "session" && this.#d.eventTime === undefined) {
        this.#d.markFed(this, SOURCE_END_MARK);
      }
      this.#check();
      this.#d.unblock();
    });
  }

  failed(error: unknown): void {
    this.#failure = { error };
    this.#d.afterValidation(() => {
      // Nothing will move its watermarks any more.
      this.#d.eventTime?.end(this, false);
      this.#check();
      this.#d.unblock();
    });
  }

  // What the router says.

  /** A delivery of it is settled. */
  settled(partition: string): void {
    this.#unsettled--;
    const own = this.partitions.get(partition);
    if (own !== undefined) own.unsettled--;
    this.roomMade();
    this.#check();
    this.#d.changed();
  }

  /** Deliveries of a partition that are not settled. */
  unsettledIn(partition: string): number {
    return this.partitions.get(partition)?.unsettled ?? 0;
  }

  /** Whether its engine has given the partition to somebody else already. */
  lost(partition: string): boolean {
    return this.partitions.get(partition)?.state === "lost";
  }

  parked(partition: string): void {
    this.#parked++;
    this.#rest(partition, 1);
    this.#check();
  }

  unparked(partition: string): void {
    this.#parked--;
    this.#rest(partition, -1);
  }

  /** Handled, and not settled before its session is over (`ack: "session"`). */
  kept(partition: string): void {
    this.#kept++;
    this.#rest(partition, 1);
    this.#check();
  }

  /** Their session is parked, or goes on. */
  keptParked(count: 1 | -1): void {
    this.#parked += count;
    this.#kept -= count;
    this.#check();
  }

  unkept(partition: string): void {
    this.#kept--;
    this.#rest(partition, -1);
  }

  /** What rests takes no room: its partition goes on. */
  #rest(partition: string, count: number): void {
    const own = this.partitions.get(partition);
    if (own === undefined) return;
    own.resting += count;
    this.roomMade();
  }

  /** Something has left the router: more may be asked for. */
  roomMade(): void {
    if (this.#state !== "open" || this.#askScheduled) return;
    // One partition may be without credit while others have all of theirs.
    if (this.#byPartition || this.#asked < this.#window / 2) this.#askSoon();
  }

  /** Whoever consumes it has gone: nothing more is read. */
  abort(): void {
    if (this.partitioned) void this.handOverAll(this.#d.settings.graceMs);
    else void this.close();
  }

  /** Hands every partition over, and closes. */
  async handOverAll(withinMs: number): Promise<void> {
    if (this.#state === "closing" || this.#state === "closed") return;
    this.#state = "closing";
    this.#leaving = true;
    const own = [...this.partitions.values()].filter(({ state }) => state === "ours");
    for (const partition of own) partition.state = "leaving";
    await Promise.all(own.map(({ id }) => handOver(this.#d, this, id, withinMs, false)));
    await this.close();
  }

  /** Stops reading; what it gave may still be settled. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#state = "closing";
    this.#d.afterValidation(() => this.#d.eventTime?.end(this, false));
    const settled =
      this.#unsettled === 0
        ? Promise.resolve()
        : new Promise<void>((resolve) => (this.#allSettled = resolve));
    try {
      const connection = this.#connection ?? (await this.#opening?.catch(() => undefined));
      await connection?.close(settled);
    } catch (error) {
      report(`Cannot close ${this.source.name}`, error);
    }
    this.#state = "closed";
    this.#d.feeds.delete(this);
    this.#finish();
    this.#d.changed();
  }

  // Credit.

  get #window(): number {
    return Math.min(mostAhead, this.#d.settings.maxHeld);
  }

  #askSoon(): void {
    if (this.#askScheduled) return;
    this.#askScheduled = true;
    // Not at once: we may be inside the source's own call, or inside a handler's.
    if (turnMs() > longTurnMs) nextTurn(this.#askLater);
    else queueMicrotask(this.#askLater);
  }

  readonly #askLater = (): void => {
    this.#askScheduled = false;
    if (this.#state === "open") this.#ask();
  };

  #ask(): void {
    if (this.isOver) return;
    if (this.#byPartition) this.#askByPartition();
    else this.#askForAll();
  }

  #askForAll(): void {
    const held = this.#d.ledger.held + this.#d.validating;
    const room = this.#d.settings.maxHeld - held - this.#d.askedAhead();
    // What other sources were asked for may never come: each may always bring one.
    const least = this.#asked === 0 && held < this.#d.settings.maxHeld ? 1 : 0;
    const count = Math.max(Math.min(this.#window - this.#asked, room), least);
    if (count < 1) {
      if (this.#asked === 0) this.#d.unblock();
      return;
    }
    this.#asked += count;
    this.#connection?.request(count);
  }

  #askByPartition(): void {
    const ours = [...this.partitions.values()].filter(({ state }) => state === "ours");
    let blocked = false;
    // Some of the room is kept, a share for each partition, so that one which
    // fills all the rest waits alone.
    const { maxHeld } = this.#d.settings;
    const share = Math.max(1, Math.floor(maxHeld / keptShare / Math.max(1, ours.length)));
    let room = maxHeld - share * ours.length - this.#d.ledger.held - this.#d.askedAhead();
    for (const own of ours) {
      const busy = own.unsettled - own.resting;
      const count = Math.min(mostAhead - own.asked, Math.max(share - own.asked - busy, room));
      if (own.asked === 0 && count < 1) {
        blocked = true;
        this.#d.eventTime?.unblockPartition(this, own.id, busy);
      }
      if (count < 1) continue;
      room -= count;
      own.asked += count;
      this.#asked += count;
      this.#connection?.request(count, own.id);
    }
    this.blocked = blocked;
    if (blocked) this.#d.unblock();
  }

  /** How much it was asked for and has not delivered. */
  get asked(): number {
    return this.isOver ? 0 : this.#asked;
  }

  /** Nothing more comes of it: it has ended, or failed. */
  get isOver(): boolean {
    return this.hasEnded || this.#failure !== undefined;
  }

  #check(): void {
    if (this.#unsettled === 0) {
      this.#allSettled?.();
      this.#allSettled = undefined;
    }
    // What is parked is settled when it is resumed, or by a drain; and whoever
    // has to connect again is told so before the sessions are over.
    const kept = this.#failure === undefined ? 0 : this.#kept;
    if (!this.isOver || this.#unsettled > this.#parked + kept) return;
    this.#finish();
    if (this.#unsettled === 0) void this.close();
  }

  #finish(): void {
    if (this.#failure === undefined) this.#done.resolve(undefined);
    else this.#done.reject(this.#failure.error);
  }
}

/** @internal */
export function consume(
  d: Dispatcher,
  input: Consumable<unknown>,
  options: WaitOptions | undefined,
): Promise<void> {
  const scope = currentScope();
  const refused = refusal(scope, options);
  if (refused !== undefined) return Promise.reject(refused as Error);
  if (d.state !== "open") {
    return Promise.reject(
      new RouterClosedError("Cannot consume: the router is draining or closed"),
    );
  }
  try {
    const source = toSource(input);
    checkLetters(d, source);
    d.saved.offer(source.store);
    const wait = suspend<void>(consumeWait, d, scope, options);
    const feed = new Feed(d, source, wait);
    wait.target = feed;
    d.feeds.add(feed);
    d.watch();
    d.sourcesSeen++;
    void feed.open();
    return wait.promise;
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

function checkLetters(d: Dispatcher, source: Source): void {
  const { durable, deadLetters } = source.capabilities;
  if (!durable || deadLetters || d.settings.deadLetter !== undefined) return;
  throw new TypeError(
    `Cannot consume ${source.name}: it is durable and has no place for dead letters; ` +
      'give the router deadLetter, or deadLetter: "drop" if they may be lost',
  );
}
