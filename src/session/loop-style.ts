// Loop style: one task per live key, which iterates its session.
//
// The handler's `next()` is where everything happens: the message in hand is
// handled, the permit goes on, the next message is given at once where there is
// one. Only a wait needs to know in which scope it is.
import { CancelledError } from "../task/errors.ts";
import { enlist } from "../task/live.ts";
import { currentScope, resetScope } from "../task/scope.ts";
import { isThenable, Task } from "../task/task.ts";
import { refusal, takeOutstanding, Wait, type WaitKind } from "../task/wait.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { show } from "./errors.ts";
import { ENDS, ONE_TRY, SPECIAL, type Envelope } from "./inbox.ts";
import { AGAIN, BEGUN, END_ASKED, isOver, LEAVING, PERMIT, type LiveSession } from "./session.ts";

type Result = IteratorResult<unknown, undefined>;

const over: Result = Object.freeze({ value: undefined, done: true as const });

const receiveWait: WaitKind = {
  name: "session.receive",
  withdraw(wait) {
    const session = wait.target as LiveSession;
    session.waiter = undefined;
    // The handler goes on; it has no message, and so no permit either.
    if (session.status === "quiet" || session.status === "ready") session.status = "busy";
  },
};

/** The session's turn has come. @internal */
export function step(d: Dispatcher, session: LiveSession): void {
  if (session.handler === undefined) start(d, session);
  else if (session.waiter !== undefined) handOver(d, session);
}

function start(d: Dispatcher, session: LiveSession): void {
  d.takePermit(session);
  session.status = "busy";
  const scope = d.scopeOf(session);
  resetScope(scope);
  const task = new Task<unknown>(scope, undefined, d.settings.handlerName);
  task.keeper = session;
  session.handler = task;
  enlist(task);
  d.runIn(scope, runHandler, session);
}

function runHandler(session: LiveSession): void {
  const task = session.handler as Task<unknown>;
  const { settings } = session.host;
  const { output } = settings;
  task.start(output === undefined ? () => settings.session(session) : () => withOutput(session));
}

async function withOutput(session: LiveSession): Promise<unknown> {
  const { settings } = session.host;
  const value = await settings.session(session);
  if (value !== undefined) {
    const writing = settings.output?.(value, session);
    if (isThenable(writing)) await writing;
  }
  return value;
}

/** Gives the waiting handler its next message. @internal */
export function handOver(d: Dispatcher, session: LiveSession): void {
  const envelope = d.take(session);
  if (envelope !== undefined) give(d, session, envelope);
  else if (session.endReason === undefined) d.quiet(session);
}

/** Gives a message to the handler that waits for it; it has left the line, or never stood in it. @internal */
export function give(d: Dispatcher, session: LiveSession, envelope: Envelope): void {
  const wait = session.waiter as Wait<Result>;
  session.waiter = undefined;
  session.inHand = envelope;
  session.status = "busy";
  d.takePermit(session);
  wait.resolve({ value: envelope.message, done: false });
}

/** The handler asks for its next message. @internal */
export function next(d: Dispatcher, session: LiveSession): Result | Promise<Result> {
  const { inHand } = session;
  // The way of nearly every message: one in hand that was sent, in a session that goes on.
  if (
    inHand === undefined ||
    inHand.extra !== undefined ||
    (inHand.flags & ENDS) !== 0 ||
    session.endReason !== undefined ||
    (session.bits & (AGAIN | END_ASKED | LEAVING)) !== 0 ||
    session.waiter !== undefined ||
    session.handler?.outstanding !== 0
  ) {
    return nextSlowly(d, session);
  }
  session.handledCount++;
  session.inHand = undefined;
  d.ledger.handledPlain();
  // Not before: whoever was let in for the room that this made has changed the line.
  const { head } = session;
  if (head === undefined || d.crowded || d.turnOver()) return park(d, session);
  if ((head.flags & SPECIAL) !== 0 || session.border !== undefined) return nextSlowly(d, session);
  session.dropHead(head);
  head.flags += ONE_TRY;
  session.inHand = head;
  return { value: head.message, done: false };
}

function nextSlowly(d: Dispatcher, session: LiveSession): Result | Promise<Result> {
  const task = session.handler;
  if (session.waiter !== undefined || task === undefined) return refuse(d, session);
  if (session.has(AGAIN)) {
    const envelope = session.inHand as Envelope;
    session.bits &= ~AGAIN;
    envelope.tries++;
    return { value: envelope.message, done: false };
  }
  if (task.outstanding > 0) {
    const refused = refusal(currentScope(), undefined);
    if (refused !== undefined) return Promise.reject(refused as Error);
  }
  const goesOn = mayGoOn(d, session);
  // One that goes on after it was told to stop has not finished with its message,
  // as far as anybody can tell: what becomes of it is the end's to say.
  if (session.inHand !== undefined && session.endReason === undefined) {
    d.handled(session, session.inHand, undefined);
  }
  if (session.endReason !== undefined) return afterEnd(session);
  if (session.has(END_ASKED | LEAVING)) {
    d.end(session, session.has(END_ASKED) ? "ended" : "moved");
    return afterEnd(session);
  }
  if (session.head !== undefined && goesOn) {
    const envelope = d.take(session);
    if (envelope !== undefined) {
      session.inHand = envelope;
      d.takePermit(session);
      return { value: envelope.message, done: false };
    }
    if (session.endReason !== undefined) return afterEnd(session);
  }
  return park(d, session);
}

/** Whether a handler that asks may have a message now, without standing in line for its turn. */
function mayGoOn(d: Dispatcher, session: LiveSession): boolean {
  // One that has given a wait up runs without a permit.
  if (!session.has(PERMIT)) return d.running < d.settings.maxRunning && !d.turnOver();
  // The turn of one that has had nothing yet has just come.
  return !session.has(BEGUN) || (!d.crowded && !d.turnOver());
}

/** Nothing to give yet: the handler waits, and holds no permit. */
function park(d: Dispatcher, session: LiveSession): Promise<Result> {
  const scope = currentScope();
  let promise: Promise<Result>;
  if (session.receiver === undefined) {
    session.receiver = new Wait(receiveWait, session, scope, undefined, undefined, false);
    promise = session.receiver.promise;
  } else promise = session.receiver.again(scope);
  session.waiter = session.receiver;
  d.leavePermit(session);
  if (session.head !== undefined) d.queueUp(session);
  else d.quiet(session);
  return promise;
}

/** What `next()` gives when the session has ended. */
function afterEnd(session: LiveSession): Result | Promise<Result> {
  const reason = session.endReason;
  if (reason !== undefined && isOver(reason)) return over;
  const task = session.handler;
  // The request that is thrown here is thrown once, and not at the next wait again.
  const asked = task === undefined ? undefined : takeOutstanding(task.scope);
  return Promise.reject(asked ?? new CancelledError(reason, task));
}

function refuse(d: Dispatcher, session: LiveSession): Promise<Result> {
  if (d.settings.style === "message") {
    return Promise.reject(
      new TypeError(
        `Cannot receive in session ${show(session.key)}: its router calls message(message, session) instead`,
      ),
    );
  }
  if (session.endReason !== undefined) return Promise.resolve(afterEnd(session));
  return Promise.reject(
    new TypeError(`Cannot receive in session ${show(session.key)}: another receive() is waiting`),
  );
}

/** The session is over: the loop ends, and what stands behind it runs. @internal */
export function finishLoop(session: LiveSession): void {
  const wait = session.waiter;
  if (wait === undefined) return;
  session.waiter = undefined;
  wait.resolve(over);
}
