// One live key. This file holds what a session is and what its handler may do
// with it; how it is driven is in `loop-style.ts`, `message-style.ts` and
// `lifecycle.ts`.
//
// It is its own inbox, its own async iterator and its own entry in the idle
// list: there may be hundreds of thousands of them, and each further object
// would cost as much as a message.
import type { Key } from "../message/delivery.ts";
import type { EnterPoint, Scope, TaskOwner } from "../task/scope.ts";
import { createTask, type Task, type TaskKeeper } from "../task/task.ts";
import { findBehind, type Wait } from "../task/wait.ts";
import type { Feed } from "./consume.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { IdleSlot, Idler } from "./idle-list.ts";
import { Inbox, type Envelope } from "./inbox.ts";
import { deliveryInfo } from "./ledger.ts";
import type { Call } from "./message-style.ts";
import type { EndReason, MessageInHand, Session } from "./options.ts";

/**
 * `waiting` for a place among `maxLive`; `opening`, its state is being made;
 * `quiet`, nothing to do; `ready`, it stands in line for its turn; `busy`, its
 * handler runs; `retrying`, a message waits for its next try; `parked`;
 * `ending`, its end is decided; `gone`.
 *
 * @internal
 */
export type SessionStatus =
  | "waiting"
  | "opening"
  | "quiet"
  | "ready"
  | "busy"
  | "retrying"
  | "parked"
  | "ending"
  | "gone";

/** It has a permit of `maxRunning`. @internal */
export const PERMIT = 1;
/** It has taken its first message. @internal */
export const BEGUN = 2;
/** It goes on from saved state. @internal */
export const RESUMED = 4;
/** `end()` was called: it ends once the message in hand is handled. @internal */
export const END_ASKED = 8;
/** Its partition is handed over: it ends as moved once the message in hand is handled. @internal */
export const LEAVING = 16;
/** Its handler ignores its cancellation. @internal */
export const OVERDUE = 32;
/** The message in hand is to be handed over once more. @internal */
export const AGAIN = 64;
/** It has a place among `maxLive`. @internal */
export const PLACE = 128;
/** Its state was made, and it counts as started. @internal */
export const STARTED = 256;
/** `save` has stored something for its key. @internal */
export const SAVED = 512;

/** What only few sessions have. @internal */
export interface SessionExtra {
  readonly children: Set<Task<unknown>>;
  keptAlive: number;
  /** Calls off what `sendAfter` has under way */
  readonly timers: Set<() => void>;
  /** Handled, and settled when the session is over (`ack: "session"`) */
  unsettled: Envelope[];
  feed: Feed | undefined;
  partition: string | undefined;
  fence: bigint | undefined;
  cancelRetry: (() => void) | undefined;
  cancelGrace: (() => void) | undefined;
  /** The task that opens or closes it, while there is one */
  errand: Task<unknown> | undefined;
  /** Tasks of earlier calls that left a wait behind */
  readonly strays: Set<Task<unknown>>;
  /** Resolves when the saves under way are stored, or have failed; nothing is settled before */
  saving: Promise<unknown> | undefined;
  /** For a message-style call without a promise: its signal, if asked for */
  abort: AbortController | undefined;
  /** What it set its own idle time to */
  idleMs: number | undefined;
  /** What made it fail */
  error: unknown;
}

/** @internal */
export class LiveSession extends Inbox implements Session, Idler, TaskOwner, TaskKeeper {
  // In the order in which a message needs them: what it touches lies together.
  status: SessionStatus = "opening";
  bits = 0;
  inHand: Envelope | undefined = undefined;
  endReason: EndReason | undefined = undefined;
  handledCount = 0;
  /** Loop style: the handler's task; message style: the call's, once somebody has asked for it */
  handler: Task<unknown> | undefined = undefined;
  /** Loop style: the handler waits for its next message */
  waiter: Wait<IteratorResult<unknown, undefined>> | undefined = undefined;
  /** Message style: the call in progress */
  call: Call | undefined = undefined;
  /** Message style: the context of its calls */
  point: EnterPoint | undefined = undefined;
  state: unknown = undefined;
  quietAt = 0;
  idleSlot: IdleSlot | undefined = undefined;
  /** Loop style: the wait that `waiter` is, each time */
  receiver: Wait<IteratorResult<unknown, undefined>> | undefined = undefined;
  extra: SessionExtra | undefined = undefined;
  readonly key: Key;
  readonly host: Dispatcher;
  scope: Scope | undefined = undefined;
  idleBefore: Idler | undefined = undefined;
  idleAfter: Idler | undefined = undefined;
  startTime = 0;

  constructor(key: Key, host: Dispatcher) {
    super();
    this.key = key;
    this.host = host;
  }

  needExtra(): SessionExtra {
    return (this.extra ??= {
      children: new Set(),
      keptAlive: 0,
      timers: new Set(),
      unsettled: [],
      feed: undefined,
      partition: undefined,
      fence: undefined,
      cancelRetry: undefined,
      cancelGrace: undefined,
      errand: undefined,
      strays: new Set(),
      saving: undefined,
      abort: undefined,
      idleMs: undefined,
      error: undefined,
    });
  }

  has(bit: number): boolean {
    return (this.bits & bit) !== 0;
  }

  get isLive(): boolean {
    return this.endReason === undefined && this.status !== "waiting" && this.status !== "gone";
  }

  // What the handler sees.

  get delivery(): MessageInHand | undefined {
    const envelope = this.inHand;
    if (envelope === undefined) return undefined;
    const { delivery } = envelope;
    if (delivery === undefined) {
      const id = `${String(this.key)}/${this.handledCount + 1}`;
      const attempt = Math.max(1, envelope.tries);
      const redelivered = attempt > 1;
      return { id, attempt, partition: "", headers: {}, idempotencyKey: id, redelivered };
    }
    return { ...deliveryInfo(delivery), attempt: Math.max(1, envelope.tries) };
  }

  get task(): Task<unknown> | undefined {
    return this.taskNow();
  }

  get signal(): AbortSignal {
    const task = this.taskNow();
    if (task !== undefined) return task.signal;
    const extra = this.needExtra();
    extra.abort ??= new AbortController();
    if (this.endReason !== undefined && !isOver(this.endReason)) extra.abort.abort();
    return extra.abort.signal;
  }

  get startedAt(): number {
    return this.host.epoch + this.startTime;
  }

  get resumed(): boolean {
    return this.has(RESUMED);
  }

  get idleMs(): number {
    return this.ownIdleMs;
  }

  /** Its own idle time, or the router's. */
  get ownIdleMs(): number {
    return this.extra?.idleMs ?? this.host.settings.idleMs;
  }

  get error(): unknown {
    return this.extra?.error;
  }

  set idleMs(ms: number) {
    if (typeof ms !== "number" || !(ms >= 0)) {
      throw new RangeError(
        `Cannot set a session's idle time: idleMs must be >= 0, current value is ${String(ms)}`,
      );
    }
    this.needExtra().idleMs = ms;
    this.host.idleChanged(this);
  }

  get fence(): bigint | undefined {
    return this.extra?.fence;
  }

  receive(): Promise<unknown> {
    const result = this.next();
    if (!(result instanceof Promise)) return Promise.resolve(result.value);
    const received = result.then(valueOf);
    // So that `waitFor(session.receive(), 5)` withdraws the wait itself.
    if (this.waiter !== undefined) findBehind(received, this.waiter);
    return received;
  }

  createTask<T>(
    work: (task: Task) => Promise<T> | T,
    options?: { readonly name?: string },
  ): Task<T> {
    return this.host.createChild(this, () => createTask(work, options));
  }

  keepAlive<P extends PromiseLike<unknown>>(promise: P): P {
    const extra = this.needExtra();
    extra.keptAlive++;
    const settled = (): void => {
      extra.keptAlive--;
      this.host.touched(this);
    };
    promise.then(settled, settled);
    return promise;
  }

  sendAfter(ms: number, message: unknown): () => void {
    return this.host.sendAfter(this, ms, message);
  }

  save(...given: [state?: unknown]): Promise<void> {
    return this.host.save(this, given.length === 0 ? this.state : given[0]);
  }

  end(): void {
    this.host.askEnd(this);
  }

  cancel(reason?: unknown): boolean {
    return this.host.cancel(this, reason);
  }

  // The iteration (loop style). Written by hand: `return()` of an async
  // generator would wait for a pending `next()`.

  [Symbol.asyncIterator](): AsyncIterator<unknown, undefined> {
    return this as unknown as AsyncIterator<unknown, undefined>;
  }

  /** Gives a result at once where nothing has to be waited for, which saves a promise a message. */
  next(): IteratorResult<unknown, undefined> | Promise<IteratorResult<unknown, undefined>> {
    return this.host.next(this);
  }

  /** Leaving the loop is not asking for the next message: the one in hand stays in hand. */
  return(): Promise<IteratorResult<unknown, undefined>> {
    return Promise.resolve({ value: undefined, done: true });
  }

  // What tasks ask of whoever answers for them.

  taskNow(): Task<unknown> | undefined {
    return this.host.taskOfCall(this);
  }

  adopt(task: Task<unknown>): void {
    if (this.status === "gone") return;
    this.needExtra().children.add(task);
    task.keeper = this;
  }

  nameOf(task: Task<unknown>): string | undefined {
    return task === this.handler ? `session ${String(this.key)}` : undefined;
  }

  taskEnded(task: Task<unknown>): void {
    this.host.taskEnded(this, task);
  }
}

function valueOf(result: IteratorResult<unknown, undefined>): unknown {
  return result.value;
}

/** Whether a session that ended so was over; else it had to stop, or failed. @internal */
export function isOver(reason: EndReason): boolean {
  return (
    reason === "ended" ||
    reason === "returned" ||
    reason === "idle" ||
    reason === "sourceEnded" ||
    reason === "replaced"
  );
}
