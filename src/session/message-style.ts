// Message style: a call for each message; nothing is parked between them.
//
// A handler that gives no promise runs in the router's own batch context, whose
// scope record is told each time whose call it is. The first promise switches
// the router over: that call keeps the batch's context as its session's own,
// and from then on every session gets one of its own, made at its first call.
//
// A call that gives a promise is a task, but hardly any handler ever looks at
// it: the task is made when somebody asks (the session, a wait, a cancellation,
// `allTasks()`), not before.
import { cancellationOf } from "../task/errors.ts";
import { enlist } from "../task/live.ts";
import { resetScope, Scope, type EnterPoint } from "../task/scope.ts";
import { isThenable, Task } from "../task/task.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { ENDS, INTERRUPTED, ONE_TRY, SPECIAL, type Envelope } from "./inbox.ts";
import { caughtUp, collectStray, endSession, failed, finishSession } from "./lifecycle.ts";
import { AGAIN, BEGUN, END_ASKED, LEAVING, PERMIT, type LiveSession } from "./session.ts";

// So many messages of one session are handled in a row before the next session
// has its turn.
const messagesPerTurn = 32;

/** The session's turn has come. @internal */
export function step(d: Dispatcher, session: LiveSession): void {
  d.takePermit(session);
  session.status = "busy";
  const go = d.asynchronous ? callInContext : call;
  let count = 0;
  for (; count < messagesPerTurn; count++) {
    const envelope = nextInHand(d, session);
    if (envelope === undefined || !go(d, session, envelope)) break;
  }
  d.batchScope.owner = undefined;
  if (count < messagesPerTurn) return;
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
    (session.bits & AGAIN) === 0
  ) {
    session.dropHead(head);
    head.flags += ONE_TRY;
    session.bits |= BEGUN;
    session.inHand = head;
    return head;
  }
  return nextSlowly(d, session);
}

function nextSlowly(d: Dispatcher, session: LiveSession): Envelope | undefined {
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

/** Whether a handler's `undefined` is all there is to say: a message that was sent, of a session that goes on. */
function isPlain(session: LiveSession, envelope: Envelope | undefined): boolean {
  return (
    envelope !== undefined &&
    envelope.extra === undefined &&
    (envelope.flags & (ENDS | INTERRUPTED)) === 0 &&
    session.inHand === envelope &&
    session.handler === undefined &&
    session.endReason === undefined &&
    (session.bits & (END_ASKED | LEAVING)) === 0
  );
}

/** A call in the batch's context; true when the next message may follow at once. */
function call(d: Dispatcher, session: LiveSession, envelope: Envelope): boolean {
  const { message, output } = d.settings;
  const scope = d.batchScope;
  if (scope.owner !== session) scope.owner = session;
  let result: unknown;
  try {
    result = message(envelope.message, session);
    if (result === undefined && isPlain(session, envelope)) {
      session.inHand = undefined;
      session.handledCount++;
      d.ledger.handledPlain();
      return true;
    }
    if (result !== undefined && output !== undefined && !isThenable(result)) {
      const writing = output(result, session);
      if (isThenable(writing)) result = giveAfter(writing, result);
    }
  } catch (error) {
    scope.owner = undefined;
    return threw(d, session, error);
  }
  scope.owner = undefined;
  if (result !== undefined && isThenable(result)) {
    switchOver(d, session, result);
    return false;
  }
  return returned(d, session, result);
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
  newCall(d, session).follow(result);
}

function newCall(d: Dispatcher, session: LiveSession): Call {
  const running = d.calls.pop() ?? new Call(d);
  running.session = session;
  session.call = running;
  return running;
}

/** A call in the session's own context; true when it has ended already. */
function callInContext(d: Dispatcher, session: LiveSession, envelope: Envelope): boolean {
  const point = session.point ?? firstPoint(d, session);
  return point.runInAsyncScope(callHere, undefined, d, session, envelope);
}

/**
 * A call in the context that we are in, which is the session's own: what follows
 * on its promise comes back here, and the next message need not enter again.
 */
function callHere(d: Dispatcher, session: LiveSession, envelope: Envelope): boolean {
  const running = session.call ?? newCall(d, session);
  let result: unknown;
  try {
    result = d.settings.message(envelope.message, session);
  } catch (error) {
    return threw(d, session, error);
  }
  if (result !== undefined) {
    if (result instanceof Promise || isThenable(result)) return running.follow(result);
    if (d.settings.output !== undefined) {
      running.write(result);
      return false;
    }
  }
  return returned(d, session, result);
}

function firstPoint(d: Dispatcher, session: LiveSession): EnterPoint {
  session.point = d.pointIn(d.scopeOf(session));
  return session.point;
}

/**
 * What follows on a call that gives a promise. Kept by its session as long as
 * one message follows another, then used for the next session that needs one:
 * no closures are made for a call.
 *
 * @internal
 */
export class Call {
  readonly d: Dispatcher;
  session: LiveSession | undefined = undefined;

  constructor(d: Dispatcher) {
    this.d = d;
  }

  readonly onValue = (value: unknown): void => {
    const { d } = this;
    const session = this.session as LiveSession;
    if (value === undefined && isPlain(session, session.inHand)) {
      session.inHand = undefined;
      session.handledCount++;
      d.ledger.handledPlain();
      goOn(d, session);
    } else if (value instanceof Written) this.#finish(value.value);
    else if (value !== undefined && d.settings.output !== undefined) this.write(value);
    else this.#finish(value);
  };

  readonly onError = (error: unknown): void => {
    const session = this.session as LiveSession;
    if (threw(this.d, session, error)) goOn(this.d, session);
  };

  /** False, as the call has not ended; a promise of another's making may throw when it is asked. */
  follow(result: PromiseLike<unknown>): false {
    try {
      const promise = result instanceof Promise ? result : Promise.resolve(result);
      void promise.then(this.onValue, this.onError);
    } catch (error) {
      void Promise.reject(error as Error).catch(this.onError);
    }
    return false;
  }

  /** Hands a value to `output`; we are in the session's context. */
  write(value: unknown): void {
    const { d } = this;
    try {
      const writing = d.settings.output?.(value, this.session as LiveSession);
      if (!isThenable(writing)) this.#finish(value);
      else void Promise.resolve(writing).then(() => this.#finish(value), this.onError);
    } catch (error) {
      this.onError(error);
    }
  }

  #finish(value: unknown): void {
    const session = this.session as LiveSession;
    if (returned(this.d, session, value)) goOn(this.d, session);
  }
}

/** After a call that took its time: the next message, unless others have waited for longer. */
function goOn(d: Dispatcher, session: LiveSession): void {
  if (session.head === undefined && (session.bits & AGAIN) === 0) {
    giveCallBack(d, session);
    rest(d, session);
  } else if (d.crowded || d.turnOver() || !session.has(PERMIT)) {
    giveCallBack(d, session);
    d.leavePermit(session);
    d.queueUp(session);
  } else {
    const envelope = nextInHand(d, session);
    if (envelope === undefined) giveCallBack(d, session);
    else if (callHere(d, session, envelope)) step(d, session);
  }
}

function giveCallBack(d: Dispatcher, session: LiveSession): void {
  const running = session.call;
  if (running === undefined) return;
  session.call = undefined;
  running.session = undefined;
  d.calls.push(running);
}

/** The task of the call in progress, made now if nobody has asked for it before. @internal */
export function taskOfCall(d: Dispatcher, session: LiveSession): Task<unknown> | undefined {
  if (session.handler !== undefined) return session.handler;
  const own = session.call !== undefined;
  const inBatch = d.batchScope.owner === session && session.status === "busy";
  if ((!own && !inBatch) || session.inHand === undefined) return undefined;
  const scope = inBatch ? d.batchScope : d.scopeOf(session);
  const task = new Task<unknown>(scope, undefined, d.settings.handlerName);
  task.keeper = session;
  task.begin();
  resetScope(scope);
  session.handler = task;
  enlist(task);
  return task;
}

/** The call has ended: its task too, if it has one. */
function endCall(
  d: Dispatcher,
  session: LiveSession,
  state: "returned" | "failed" | "cancelled",
  value: unknown,
): void {
  giveCallBack(d, session);
  const task = session.handler;
  if (task === undefined) return;
  session.handler = undefined;
  task.scope.task = undefined;
  collectStray(session, task);
  task.end(state, value);
}

/** True when the next message may follow at once. */
function returned(d: Dispatcher, session: LiveSession, value: unknown): boolean {
  const envelope = session.inHand;
  endCall(d, session, "returned", value);
  if (session.endReason !== undefined) {
    stopped(d, session);
    return false;
  }
  if (envelope === undefined || (envelope.flags & INTERRUPTED) !== 0)
    interrupted(d, session, envelope);
  else d.handled(session, envelope, value);
  return afterMessage(d, session);
}

function threw(d: Dispatcher, session: LiveSession, error: unknown): boolean {
  const envelope = session.inHand;
  const cancellation = cancellationOf(error, session.handler?.asked);
  endCall(d, session, cancellation === undefined ? "failed" : "cancelled", cancellation ?? error);
  if (session.endReason !== undefined) {
    stopped(d, session);
    return false;
  }
  if (envelope === undefined || (envelope.flags & INTERRUPTED) !== 0) {
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

/** Without a message when it was given up while its handler went on. */
function interrupted(d: Dispatcher, session: LiveSession, envelope: Envelope | undefined): void {
  session.inHand = undefined;
  caughtUp(d, session);
  if (envelope !== undefined) d.ledger.done(envelope, "interrupted", undefined, session.key);
}

function afterMessage(d: Dispatcher, session: LiveSession): boolean {
  if (session.bits & (END_ASKED | LEAVING) && session.endReason === undefined) {
    endSession(d, session, session.has(END_ASKED) ? "ended" : "moved");
  }
  if (session.endReason === undefined) return true;
  d.leavePermit(session);
  return false;
}
