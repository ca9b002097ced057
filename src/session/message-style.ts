// Message style: a call for each message; nothing is parked between them.
//
// A handler that gives no promise runs in the router's own batch context, whose
// scope record is told each time whose call it is. The first promise switches
// the router over: that call keeps the batch's context as its session's own,
// and from then on every session gets one of its own, made at its first call.
import { cancellationOf } from "../task/errors.ts";
import { enlist } from "../task/live.ts";
import { isThenable, Task } from "../task/task.ts";
import { Scope } from "../task/scope.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { ENDS, INTERRUPTED, ONE_TRY, SPECIAL, type Envelope } from "./inbox.ts";
import { collectStray, endSession, failed, finishSession } from "./lifecycle.ts";
import { AGAIN, BEGUN, END_ASKED, LEAVING, type LiveSession } from "./session.ts";

// So many messages of one session are handled in a row before the next session
// has its turn.
const messagesPerTurn = 32;

/** The session's turn has come. @internal */
export function step(d: Dispatcher, session: LiveSession): void {
  d.takePermit(session);
  session.status = "busy";
  const go = d.asynchronous ? callInContext : call;
  for (let count = 0; count < messagesPerTurn; count++) {
    const envelope = nextInHand(d, session);
    if (envelope === undefined || !go(d, session, envelope)) return;
  }
  d.leavePermit(session);
  if (session.head !== undefined || session.has(AGAIN)) d.queueUp(session);
  else rest(d, session);
}

function nextInHand(d: Dispatcher, session: LiveSession): Envelope | undefined {
  const head = session.head;
  if (
    head !== undefined &&
    (head.flags & SPECIAL) === 0 &&
    session.border === undefined &&
    !session.has(AGAIN)
  ) {
    session.dropHead(head);
    head.flags += ONE_TRY;
    session.bits |= BEGUN;
    session.inHand = head;
    return head;
  }
  if (session.has(AGAIN)) {
    const envelope = session.inHand as Envelope;
    session.bits &= ~AGAIN;
    envelope.tries++;
    return envelope;
  }
  const envelope = d.take(session);
  if (envelope !== undefined) session.inHand = envelope;
  else rest(d, session);
  return envelope;
}

/** Nothing more to do for now. */
function rest(d: Dispatcher, session: LiveSession): void {
  d.leavePermit(session);
  if (session.endReason === undefined) d.quiet(session);
}

/** A call in the batch's context; true when the next message may follow at once. */
function call(d: Dispatcher, session: LiveSession, envelope: Envelope): boolean {
  const { message, output } = d.settings;
  const scope = d.batchScope;
  scope.owner = session;
  let result: unknown;
  try {
    result = message(envelope.message, session);
    if (result !== undefined && output !== undefined && !isThenable(result)) {
      const writing = output(result, session);
      if (isThenable(writing)) result = giveAfter(writing, result);
    }
  } catch (error) {
    scope.owner = undefined;
    return threw(d, session, envelope, error);
  }
  scope.owner = undefined;
  if (
    result === undefined &&
    envelope.extra === undefined &&
    session.inHand === envelope &&
    session.handler === undefined &&
    (session.bits & (END_ASKED | LEAVING)) === 0
  ) {
    // The way of nearly every message: sent, handled, and nobody to tell.
    session.inHand = undefined;
    session.handledCount++;
    d.ledger.handledPlain();
    if ((envelope.flags & ENDS) === 0) return true;
    endSession(d, session, "ended");
    d.leavePermit(session);
    return false;
  }
  if (result !== undefined && isThenable(result)) {
    switchOver(d, session, result);
    return false;
  }
  return returned(d, session, envelope, result);
}

async function giveAfter(writing: PromiseLike<unknown>, value: unknown): Promise<Written> {
  await writing;
  return new Written(value);
}

/** A handler's value whose output is written already. */
class Written {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
}

/** The first promise: the batch's context becomes this session's own. */
function switchOver(d: Dispatcher, session: LiveSession, result: PromiseLike<unknown>): void {
  d.asynchronous = true;
  const scope = d.batchScope;
  const point = d.batchPoint;
  d.batchScope = new Scope(undefined, undefined, d.settings.clock, undefined, scope.root);
  d.batchPoint = d.pointIn(d.batchScope);
  scope.owner = session;
  session.scope = scope;
  session.point = point;
  const running =
    session.handler === undefined ? beginCall(d, session, scope) : (session.call as Call);
  running.follow(result);
}

/** A call in the session's own context; true when it has ended already. */
function callInContext(d: Dispatcher, session: LiveSession, envelope: Envelope): boolean {
  const scope = d.scopeOf(session);
  const point = (session.point ??= d.pointIn(scope));
  const running = beginCall(d, session, scope);
  let result: unknown;
  try {
    result = point.runInAsyncScope(d.settings.message, undefined, envelope.message, session);
  } catch (error) {
    return threw(d, session, envelope, error);
  }
  if (result !== undefined && (isThenable(result) || d.settings.output !== undefined)) {
    if (isThenable(result)) running.follow(result);
    else running.write(result);
    return false;
  }
  return returned(d, session, envelope, result);
}

/**
 * A call that gives a promise: its task, and what follows on it. Calls are used
 * again as long as nobody has seen their task.
 *
 * @internal
 */
export class Call {
  readonly d: Dispatcher;
  session: LiveSession;
  task: Task<unknown>;

  constructor(d: Dispatcher, session: LiveSession, scope: Scope) {
    this.d = d;
    this.session = session;
    this.task = newTask(d, session, scope);
  }

  follow(result: PromiseLike<unknown>): void {
    const promise =
      result instanceof Promise ? (result as Promise<unknown>) : Promise.resolve(result);
    promise.then(this.#onValue, this.#onError);
  }

  /** Hands a value to `output` in the session's context. */
  write(value: unknown): void {
    const { d, session } = this;
    try {
      const writing = session.point?.runInAsyncScope(
        d.settings.output as never,
        undefined,
        value,
        session,
      );
      if (isThenable(writing))
        Promise.resolve(writing).then(() => this.#finish(value), this.#onError);
      else this.#finish(value);
    } catch (error) {
      this.#onError(error);
    }
  }

  readonly #onValue = (value: unknown): void => {
    if (value instanceof Written) this.#finish(value.value);
    else if (value !== undefined && this.d.settings.output !== undefined) this.write(value);
    else this.#finish(value);
  };

  #finish(value: unknown): void {
    const { d, session } = this;
    if (returned(d, session, session.inHand, value)) goOn(d, session);
  }

  readonly #onError = (error: unknown): void => {
    const { d, session } = this;
    if (threw(d, session, session.inHand, error)) goOn(d, session);
  };
}

/** After a call that took its time: the next message, unless others have waited for longer. */
function goOn(d: Dispatcher, session: LiveSession): void {
  if (session.head === undefined && !session.has(AGAIN)) rest(d, session);
  else if (d.crowded || d.turnOver()) {
    d.leavePermit(session);
    d.queueUp(session);
  } else step(d, session);
}

function newTask(d: Dispatcher, session: LiveSession, scope: Scope): Task<unknown> {
  const task = new Task<unknown>(scope, undefined, d.settings.handlerName);
  task.keeper = session;
  task.seen = false;
  return task;
}

function beginCall(d: Dispatcher, session: LiveSession, scope: Scope): Call {
  const call = d.calls.pop() ?? new Call(d, session, scope);
  const { task } = call;
  call.session = session;
  task.employ(scope, session);
  session.handler = task;
  session.call = call;
  enlist(task);
  return call;
}

/** The task of the call in progress, made now for a call that has not given a promise yet. @internal */
export function taskOfCall(d: Dispatcher, session: LiveSession): Task<unknown> | undefined {
  if (session.handler !== undefined) return session.handler;
  if (d.batchScope.owner !== session || session.status !== "busy") return undefined;
  return beginCall(d, session, d.batchScope).task;
}

/** The call has ended: its task too. */
function endCall(
  d: Dispatcher,
  session: LiveSession,
  state: "returned" | "failed" | "cancelled",
  value: unknown,
): void {
  const task = session.handler;
  if (task === undefined) return;
  const call = session.call as Call;
  session.call = undefined;
  session.handler = undefined;
  task.scope.task = undefined;
  if (task.retire()) {
    d.calls.push(call);
    return;
  }
  // Somebody has seen it, or a strand of the call still waits: the next call gets a new one.
  collectStray(session, task);
  task.end(state, value);
}

/** True when the next message may follow at once. */
function returned(
  d: Dispatcher,
  session: LiveSession,
  envelope: Envelope | undefined,
  value: unknown,
): boolean {
  if (session.handler !== undefined) endCall(d, session, "returned", value);
  if (session.endReason !== undefined) {
    stopped(d, session);
    return false;
  }
  if (envelope === undefined) return afterMessage(d, session);
  if ((envelope.flags & INTERRUPTED) !== 0) interrupted(d, session, envelope);
  else d.handled(session, envelope, value);
  return afterMessage(d, session);
}

function threw(
  d: Dispatcher,
  session: LiveSession,
  envelope: Envelope | undefined,
  error: unknown,
): boolean {
  const cancellation = cancellationOf(error, session.handler?.asked);
  endCall(d, session, cancellation === undefined ? "failed" : "cancelled", cancellation ?? error);
  if (session.endReason !== undefined) {
    stopped(d, session);
    return false;
  }
  if (envelope !== undefined && (envelope.flags & INTERRUPTED) !== 0) {
    interrupted(d, session, envelope);
    return afterMessage(d, session);
  }
  if (cancellation !== undefined) endSession(d, session, "cancelled");
  else failed(d, session, error);
  return false;
}

/** It was told to stop while the call ran. */
function stopped(d: Dispatcher, session: LiveSession): void {
  d.leavePermit(session);
  if (session.status === "ending" && session.extra?.errand === undefined) finishSession(d, session);
}

function interrupted(d: Dispatcher, session: LiveSession, envelope: Envelope): void {
  session.inHand = undefined;
  d.ledger.done(envelope, "interrupted", undefined, session.key);
}

function afterMessage(d: Dispatcher, session: LiveSession): boolean {
  if (session.bits & (END_ASKED | LEAVING) && session.endReason === undefined) {
    endSession(d, session, session.has(END_ASKED) ? "ended" : "moved");
  }
  if (session.endReason === undefined) return true;
  d.leavePermit(session);
  return false;
}
