// What a source hands over and what comes back. A delivery brings its own way
// back along (`settle`), so that neither the router nor a source ever needs to
// know the other.

/** What a key is: a string or a finite number, one of the two per router. */
export type Key = string | number;

/**
 * What became of a delivery: `"done"` (handled, or dropped by a policy that
 * the user chose), `"release"` (given back: somebody else, or a later run,
 * gets it again) or `"dead"` (given up; a {@link DeadLetter} says why).
 */
export type Outcome = "done" | "release" | "dead";

/** Why a message was given up. */
export type DeadLetterReason =
  | "invalid"
  | "late"
  | "exhausted"
  | "cancelled"
  | "full"
  | "parked"
  | "drained"
  | "aborted"
  | "duplicateStart";

/** One earlier try of a message that failed. */
export interface FailedAttempt {
  /** Which try it was; 1 is the first */
  readonly attempt: number;
  /** What the handler threw */
  readonly error: unknown;
  /** When, in milliseconds on the router's clock */
  readonly at: number;
}

/** A message that was given up, with everything that is needed to look at it and to send it again. */
export interface DeadLetter<M = unknown, K extends Key = Key> {
  readonly message: M;
  /** `undefined` when no key could be made of the message */
  readonly key: K | undefined;
  readonly reason: DeadLetterReason;
  /** What was thrown last, or an error that says why it was given up */
  readonly error: unknown;
  /** How often a handler was given it; 0 when never */
  readonly attempts: number;
  /** When it was given up, in milliseconds on the router's clock */
  readonly at: number;
  /** The tries that failed, oldest first; the last ten at most */
  readonly history: readonly FailedAttempt[];
  /** Where it came from; missing when it was sent, not consumed */
  readonly delivery?: DeliveryInfo | undefined;
}

/** What is known of a delivery besides its message. */
export interface DeliveryInfo {
  /** The source's own name for it: a line number, an offset, a tag */
  readonly id: string;
  /** Which try this is, as the engine counts; 1 is the first */
  readonly attempt: number;
  /** The engine's unit of order and ownership; `""` where the source has none */
  readonly partition: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The same for every redelivery of the same message */
  readonly idempotencyKey: string;
  /** Whether somebody may have seen it before */
  readonly redelivered: boolean;
}

/** One message on its way in, with its way back. */
export interface Delivery<M = unknown> extends DeliveryInfo {
  readonly message: M;
  /** The source's own key, where it has one */
  readonly key?: Key | undefined;
  /**
   * Set when the source could make no message of what it read (a line that is
   * not JSON): `message` is then what was read, and the router dead-letters it
   * as `invalid` with this error.
   */
  readonly invalid?: Error | undefined;
  /**
   * Says what became of it. Called exactly once.
   *
   * @param letter Given with `"dead"`, unless the router's own `deadLetter` has already taken it
   */
  settle(outcome: Outcome, letter?: DeadLetter): void | Promise<void>;
}
