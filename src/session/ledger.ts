// What became of each message: counted, settled exactly once, or kept as a dead
// letter. Nothing leaves the router but through here.
import type {
  DeadLetter,
  DeadLetterReason,
  DeliveryInfo,
  Key,
  Outcome,
} from "../message/delivery.ts";
import type { Feed } from "./consume.ts";
import { isThenable } from "../task/task.ts";
import { NotHandledError, type NotHandled } from "./errors.ts";
import { HELD, type Envelope } from "./inbox.ts";
import type { EndReason } from "./options.ts";
import { report } from "./report.ts";
import type { Settings } from "./settings.ts";

const keptLetters = 1_000;
const letterRetryMs = [100, 200, 500, 1_000, 2_000, 5_000];

/** Why a handled message is done: by its handler, or by a policy that the user chose. */
type Done = "handled" | "dropped" | "interrupted";

interface Mourned {
  readonly envelope: Envelope;
  readonly letter: DeadLetter;
  /** Calls off the pause before the next try */
  cancelRetry: (() => void) | undefined;
}

/** @internal */
export class Ledger {
  readonly #settings: Settings;
  /** Called when something accepted has left the router, while somebody waits for that (`watched`) */
  readonly #onRelease: () => void;
  /** Somebody waits for room, for the end of a drain, for everything to be handled */
  watched = false;
  /** Accepted and not yet settled */
  held = 0;
  handled = 0;
  started = 0;
  late = 0;
  invalid = 0;
  deadLettered = 0;
  dropped = 0;
  interrupted = 0;
  retried = 0;
  leftovers = 0;
  released = 0;
  forcedEvictions = 0;
  forcedWatermarks = 0;
  readonly ended: Record<EndReason, number> = {
    ended: 0,
    returned: 0,
    idle: 0,
    sourceEnded: 0,
    replaced: 0,
    failed: 0,
    cancelled: 0,
    evicted: 0,
    drained: 0,
    moved: 0,
  };
  readonly #letters: DeadLetter[] = [];
  /** Letters that `deadLetter` has not taken yet */
  readonly #mourned = new Set<Mourned>();
  #closed = false;
  /** Handled, and settled when what was saved with them is stored */
  readonly #stored = new Set<Envelope>();

  constructor(settings: Settings, onRelease: () => void) {
    this.#settings = settings;
    this.#onRelease = onRelease;
  }

  /** Letters on their way to the user's `deadLetter`. */
  get pendingLetters(): number {
    return this.#mourned.size;
  }

  /** It was accepted: from now on it may not be lost. */
  accept(envelope: Envelope): void {
    if ((envelope.flags & HELD) !== 0) return;
    envelope.flags |= HELD;
    this.held++;
  }

  /** A parked message no longer counts against maxHeld; one that goes on does again. */
  setHeld(envelope: Envelope, held: boolean): void {
    if (((envelope.flags & HELD) !== 0) === held) return;
    envelope.flags ^= HELD;
    this.held += held ? 1 : -1;
    if (!held) this.#released();
  }

  #released(): void {
    if (this.watched) this.#onRelease();
  }

  /** A message that was sent, that is held, and that nobody waits for, is handled. */
  handledPlain(): void {
    this.handled++;
    this.held--;
    if (this.watched) this.#onRelease();
  }

  /** The handler has finished with it, or the user's policy has. */
  done(envelope: Envelope, how: Done, value: unknown, key: Key): void {
    if (how === "handled") this.handled++;
    else if (how === "dropped") this.dropped++;
    else this.interrupted++;
    this.leave(envelope);
    const extra = envelope.extra;
    if (extra === undefined) return;
    if (extra.ticket !== undefined) {
      if (how === "handled") extra.ticket.resolve(value);
      else extra.ticket.reject(new NotHandledError(key, how));
    }
    if (extra.feed !== undefined) this.settle(envelope, "done");
  }

  /** Counts it as handled without settling its delivery: `ack: "session"` does that later. */
  handledUnsettled(envelope: Envelope, value: unknown): void {
    this.handled++;
    this.leave(envelope);
    envelope.extra?.ticket?.resolve(value);
  }

  /** Settles what is handled, once the saves that were begun with it have ended. */
  settleAfter(saving: Promise<unknown>, envelope: Envelope): void {
    this.#stored.add(envelope);
    void saving.then(() => {
      this.#stored.delete(envelope);
      this.settle(envelope, "done");
    });
  }

  /** Gives it back to its source. */
  release(envelope: Envelope, key: Key | undefined): void {
    this.released++;
    this.leave(envelope);
    envelope.extra?.ticket?.reject(new NotHandledError(key, "released"));
    this.settle(envelope, "release");
  }

  /** Gives it up. It stays held until its letter has been taken. */
  bury(
    envelope: Envelope,
    key: Key | undefined,
    reason: DeadLetterReason,
    error: unknown = new NotHandledError(key, reason satisfies NotHandled),
  ): void {
    const { deadLetter } = this.#settings;
    this.deadLettered++;
    if (reason === "invalid") this.invalid++;
    const letter = this.#letter(envelope, key, reason, error);
    envelope.extra?.ticket?.reject(error);
    const lost = envelope.feed?.lost(envelope.partition) === true;
    if (typeof deadLetter === "function") {
      // The letter may take its time, and by then nobody knows that it was lost.
      if (lost) this.settle(envelope, "dead");
      this.#post({ envelope, letter, cancelRetry: undefined }, deadLetter, 0);
      return;
    }
    const theirs = deadLetter === undefined && !lost && envelope.feed?.keepsLetters === true;
    if (deadLetter === undefined && !theirs) this.#keep(letter);
    this.leave(envelope);
    this.settle(envelope, "dead", theirs ? letter : undefined);
  }

  /** The letters that are kept here, oldest first. */
  letters(): DeadLetter[] {
    return [...this.#letters];
  }

  /** Takes a letter out; false when it is not kept here. */
  takeLetter(letter: DeadLetter): boolean {
    const at = this.#letters.indexOf(letter);
    if (at >= 0) this.#letters.splice(at, 1);
    return at >= 0;
  }

  /** Puts a letter back that could not be sent again. */
  keepLetter(letter: DeadLetter): void {
    this.#keep(letter);
  }

  /** Nobody waits for letters any more: one that is not taken at once is kept here. */
  close(): void {
    this.#closed = true;
    this.giveUpLetters();
  }

  /** Time is up, for all or for a partition: letters that nobody took are kept here, and deliveries given back. */
  giveUpLetters(feed?: Feed, partition?: string): void {
    for (const mourned of this.#mourned) {
      const { envelope } = mourned;
      if (feed !== undefined && (envelope.feed !== feed || envelope.partition !== partition)) {
        continue;
      }
      mourned.cancelRetry?.();
      this.#mourned.delete(mourned);
      this.#keep(mourned.letter);
      this.leave(envelope);
      this.settle(envelope, "release");
    }
  }

  /** A partition is lost: whoever has it now settles what is still to be settled of it. */
  forget(feed: Feed, partition: string): void {
    for (const envelope of [...this.#stored, ...[...this.#mourned].map((each) => each.envelope)]) {
      if (envelope.feed === feed && envelope.partition === partition) {
        this.settle(envelope, "release");
      }
    }
  }

  /** It no longer counts against maxHeld. */
  leave(envelope: Envelope): void {
    if ((envelope.flags & HELD) === 0) return;
    envelope.flags &= ~HELD;
    this.held--;
    this.#released();
  }

  /** Says to its source what became of it. */
  settle(envelope: Envelope, outcome: Outcome, letter?: DeadLetter): void {
    const extra = envelope.extra;
    if (extra?.feed === undefined) return;
    const { feed, delivery } = extra;
    extra.feed = undefined;
    const partition = delivery?.partition ?? "";
    // Whoever has the partition now settles what it gives them.
    if (delivery === undefined || feed.lost(partition)) {
      feed.settled(partition);
      return;
    }
    const settled = (): void => feed.settled(partition);
    const failed = (error: unknown): void => {
      report(`Cannot settle delivery ${delivery.id} as ${outcome}`, error);
      settled();
    };
    try {
      const settling = delivery.settle(outcome, letter);
      if (isThenable(settling)) settling.then(settled, failed);
      else settled();
    } catch (error) {
      failed(error);
    }
  }

  #letter(
    envelope: Envelope,
    key: Key | undefined,
    reason: DeadLetterReason,
    error: unknown,
  ): DeadLetter {
    const { delivery, extra } = envelope;
    return Object.freeze({
      message: envelope.message,
      key,
      reason,
      error,
      attempts: envelope.tries,
      at: this.#settings.clock.now(),
      history: Object.freeze([...(extra?.history ?? [])]),
      ...(delivery === undefined ? {} : { delivery: deliveryInfo(delivery) }),
    });
  }

  #post(mourned: Mourned, take: (letter: DeadLetter) => unknown, tries: number): void {
    this.#mourned.add(mourned);
    const taken = (): void => {
      if (!this.#mourned.delete(mourned)) return;
      this.leave(mourned.envelope);
      this.settle(mourned.envelope, "dead");
      this.#released();
    };
    const failed = (error: unknown): void => {
      if (!this.#mourned.has(mourned)) return;
      if (tries === 0) report("Cannot dead-letter a message yet: deadLetter threw", error);
      if (this.#closed) {
        this.giveUpLetters();
        return;
      }
      const pause = letterRetryMs[Math.min(tries, letterRetryMs.length - 1)] ?? 0;
      mourned.cancelRetry = this.#settings.clock.wakeAfter(pause, () =>
        this.#post(mourned, take, tries + 1),
      );
    };
    try {
      const taking = take(mourned.letter);
      if (isThenable(taking)) taking.then(taken, failed);
      else taken();
    } catch (error) {
      failed(error);
    }
  }

  #keep(letter: DeadLetter): void {
    this.#letters.push(letter);
    if (this.#letters.length > keptLetters) this.#letters.shift();
  }
}

/** What is known of a delivery, without its message and its way back. @internal */
export function deliveryInfo(delivery: DeliveryInfo): DeliveryInfo {
  const { id, attempt, partition, headers, idempotencyKey, redelivered } = delivery;
  return { id, attempt, partition, headers, idempotencyKey, redelivered };
}
