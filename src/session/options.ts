// What users of the router write and see: its options, its sessions, its
// statistics and reports. Types only; `settings.ts` fills in and checks.
import type { StandardSchemaV1 } from "./standard-schema.ts";
import type { Clock } from "../task/clock.ts";
import type { Task } from "../task/task.ts";
import type { DeadLetter, DeliveryInfo, Key } from "../message/delivery.ts";
import type { StateStore } from "../message/source.ts";

/** How a session ended; `docs/guide/ends.md` has the table of what becomes of its messages. */
export type EndReason =
  | "ended"
  | "returned"
  | "idle"
  | "sourceEnded"
  | "replaced"
  | "failed"
  | "cancelled"
  | "evicted"
  | "drained"
  | "moved";

/** What is known of the message in hand. A message that was sent, not consumed, has no `id`, partition or headers of its own. */
export type MessageInHand = DeliveryInfo;

/**
 * One live key, as its handler sees it. In loop style it is iterated; in
 * message style it is the second argument of every call.
 */
export interface Session<M = unknown, K extends Key = Key, S = unknown> extends AsyncIterable<M> {
  readonly key: K;
  /** What `state` made; a handler may put another value in its place */
  state: S;
  /** The message in hand; `undefined` between messages */
  readonly delivery: MessageInHand | undefined;
  /** Loop style: the handler's task. Message style: the call's, `undefined` between calls */
  readonly task: Task<unknown> | undefined;
  /** Aborted when the task is cancelled; made on first use */
  readonly signal: AbortSignal;
  /** When the session started, in milliseconds on the router's clock */
  readonly startedAt: number;
  /** Whether it goes on from what `save` stored */
  readonly resumed: boolean;
  /** How long this session may be quiet, in milliseconds; may be set */
  idleMs: number;
  /** Why it is over or had to stop; `undefined` while it is live */
  readonly endReason: EndReason | undefined;
  /** What made it fail, once `endReason` is `"failed"` */
  readonly error: unknown;
  /** A token that only grows with each new owner of the key, where the source or the store has one */
  readonly fence: bigint | undefined;
  /**
   * Waits for the next message (loop style only).
   *
   * @returns the message, or `undefined` when the session is over
   * @throws {CancelledError} If the session had to stop before it was over
   * @throws {TypeError} If another `receive` is waiting, or in message style
   *
   * @remarks
   * **When cancelled:** nothing is lost; the message stays first in line.
   */
  receive(): Promise<M | undefined>;
  /**
   * Runs `work` as a child task: activity while it runs, cancelled and waited
   * for when the session ends.
   */
  createTask<T>(
    work: (task: Task) => Promise<T> | T,
    options?: { readonly name?: string },
  ): Task<T>;
  /** Counts as activity until `promise` is settled; returns that promise. */
  keepAlive<P extends PromiseLike<unknown>>(promise: P): P;
  /**
   * Sends `message` to this session after `ms` milliseconds.
   *
   * @returns a function that calls it off; the session's end does so too
   */
  sendAfter(ms: number, message: M): () => void;
  /** Stores `state` (or the session's own) so that the key's next owner goes on from it. */
  save(state?: S): Promise<void>;
  /** Ends the session as `ended` once the message in hand is handled. */
  end(): void;
  /** Stops the session as `cancelled`; false when it had ended. */
  cancel(reason?: unknown): boolean;
}

/** A loop-style handler's end: what it returns goes to `output`. */
type Handled<R> = R | undefined | void | Promise<R | undefined | void>;

interface CommonOptions<M, K extends Key, S, R> {
  /**
   * The message's key. May be left out where the source has keys.
   *
   * @default the delivery's key
   */
  readonly key?: ((message: M) => K) | undefined;
  /** Whether this message may start a session. @default every message may */
  readonly starts?: ((message: M) => boolean) | undefined;
  /** Whether the session ends with this message, once it is handled. @default none does */
  readonly ends?: ((message: M) => boolean) | undefined;
  /**
   * Makes `session.state` before the first message of every session; may be
   * async. `saved` is what `session.save()` stored last.
   *
   * @default undefined
   */
  readonly state?: ((key: K, saved: unknown) => S | Promise<S>) | undefined;
  /** Called when the session was over or has failed. What it throws is reported, never retried. */
  readonly ended?: ((session: Session<M, K, S>, reason: EndReason) => unknown) | undefined;
  /** Called when the session had to stop before it was over. */
  readonly stopped?: ((session: Session<M, K, S>, reason: EndReason) => unknown) | undefined;
  /** Gets what a handler returns when it is not `undefined`; awaited before the delivery is settled. */
  readonly output?: ((value: R, session: Session<M, K, S>) => unknown) | undefined;
  /** Event time in milliseconds. @default the clock's */
  readonly time?: ((message: M) => number) | undefined;
  /** How far out of order messages may be, in milliseconds; needs `time`. @default 0 */
  readonly latenessMs?: number | undefined;
  /** End a session this long after its last activity, in milliseconds. Never early. @default Infinity */
  readonly idleMs?: number | undefined;
  /** Messages that may wait in one session. @default 64 */
  readonly inboxSize?: number | undefined;
  /** What happens to a message that finds the inbox full. @default "wait" */
  readonly overflow?: "wait" | "reject" | "dropOldest" | "dropNewest" | undefined;
  /** All messages that the router holds, over all keys. @default 65_536 */
  readonly maxHeld?: number | undefined;
  /** Sessions alive. @default Infinity */
  readonly maxLive?: number | undefined;
  /** Beyond `maxLive`, stop the idlest session that has nothing to do. @default none */
  readonly evict?: "idlest" | undefined;
  /** Handlers running at once, first come first served. @default Infinity */
  readonly maxRunning?: number | undefined;
  /** A message that may not start a session and has none, or comes behind the watermark and fits none. @default "deadLetter" */
  readonly late?: "deadLetter" | "drop" | undefined;
  /** A start message for a live key; needs `starts`. @default "deliver" */
  readonly duplicateStart?: "deliver" | "replace" | "deadLetter" | undefined;
  /** Tries of one message. @default 5; in loop style 1 */
  readonly attempts?: number | undefined;
  /**
   * The pause before the next try, in milliseconds; `undefined` gives up at once.
   *
   * @default exponential from 100 ms to 30 s, with jitter
   */
  readonly retryDelayMs?:
    | ((attempt: number, error: unknown, message: M) => number | undefined)
    | undefined;
  /** What happens when the tries are used up. @default "deadLetter"; in loop style "end" */
  readonly onExhausted?: "deadLetter" | "park" | "end" | undefined;
  /**
   * Takes a message that was given up; awaited before the delivery is settled,
   * and tried again when it throws. `"drop"` says that letters may be lost.
   *
   * @default the source's dead letters; without those the last 1,000 are kept
   */
  readonly deadLetter?: ((letter: DeadLetter<M, K>) => unknown) | "drop" | undefined;
  /** A Standard Schema; what does not fit is invalid, with the issues found. */
  readonly schema?: StandardSchemaV1<unknown, M> | undefined;
  /** How long a cancelled handler may take before it is reported, in milliseconds. @default 5_000 */
  readonly graceMs?: number | undefined;
  /** The deadline that `await using` gives `drain`, in milliseconds. @default 10_000 */
  readonly drainMs?: number | undefined;
  /** When deliveries are settled: each when it is handled, or a session's when it is over. @default "message" */
  readonly ack?: "message" | "session" | undefined;
  /** Where time comes from. @default the scope's, at the root the machine's */
  readonly clock?: Clock | undefined;
  /** Where `session.save()` stores. @default the source's; without one, this process */
  readonly store?: StateStore | undefined;
}

/** Loop style: one task per live key that iterates the session. */
export interface LoopOptions<M, K extends Key, S, R> extends CommonOptions<M, K, S, R> {
  readonly session: (session: Session<M, K, S>) => Handled<R>;
  readonly message?: undefined;
  readonly interrupts?: undefined;
}

/** Message style: a call per message; no task is parked while the session is quiet. */
export interface MessageOptions<M, K extends Key, S, R> extends CommonOptions<M, K, S, R> {
  readonly message: (message: M, session: Session<M, K, S>) => Handled<R>;
  readonly session?: undefined;
  /** Whether this message cancels the call in progress and what is queued before it. @default never */
  readonly interrupts?: ((message: M, session: Session<M, K, S>) => boolean) | undefined;
}

/** What a {@link SessionRouter} is made of: a handler in one of the two styles, and how its sessions begin, wait and end. */
export type SessionRouterOptions<M = unknown, K extends Key = Key, S = undefined, R = unknown> =
  | LoopOptions<M, K, S, R>
  | MessageOptions<M, K, S, R>;

/** A picture of the router at one moment. */
export interface RouterStatistics<K extends Key = Key> {
  readonly state: "open" | "draining" | "closed";
  /** Sessions alive */
  readonly live: number;
  /** Handlers running */
  readonly running: number;
  /** Messages that wait for a handler, wherever */
  readonly queued: number;
  /** Everything held, against `maxHeld`, and the keys that hold most */
  readonly held: {
    readonly messages: number;
    readonly keys: readonly { readonly key: K; readonly messages: number }[];
  };
  /** The age of the oldest message that waits, in milliseconds; 0 when none does */
  readonly oldestMs: number;
  /** Keys that are parked */
  readonly parked: number;
  /** Handlers that ignore their cancellation */
  readonly overdue: number;
  readonly handled: number;
  readonly started: number;
  /** The most sessions that were alive at once */
  readonly peakLive: number;
  readonly ended: Readonly<Record<EndReason, number>>;
  readonly late: number;
  readonly invalid: number;
  readonly deadLettered: number;
  readonly dropped: number;
  readonly interrupted: number;
  readonly retried: number;
  /** What sessions left behind at their end; more than 0 is an error in this library or in a handler */
  readonly leftovers: number;
  /** What had to be done because nothing could have moved otherwise */
  readonly forced: { readonly evictions: number; readonly watermarks: number };
  readonly source?: { readonly connected: boolean; readonly partitions: number } | undefined;
}

/** What `drain` found and did. */
export interface DrainReport {
  /** Tasks of the router that are still pending: those of the handlers in `ignored` */
  readonly pending: number;
  /** Handlers that ignore their cancellation, by name */
  readonly ignored: readonly string[];
  /** Parked messages that were given back or dead-lettered */
  readonly parked: number;
  /** Messages dead-lettered by the drain */
  readonly deadLettered: number;
  /** Messages given back to their source */
  readonly released: number;
}
