// How a session opens, fails, ends and is gone. Each transition is one
// function; `status` is the one word that says where a session is.
import { CancelledError, cancellationOf } from "../task/errors.ts";
import { enlist } from "../task/live.ts";
import { resetScope } from "../task/scope.ts";
import { isThenable, Task } from "../task/task.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { show } from "./errors.ts";
import { ENDS, INTERRUPTED, MARK, type Envelope } from "./inbox.ts";
import * as loopStyle from "./loop-style.ts";
import type { EndReason } from "./options.ts";
import { report } from "./report.ts";
import {
  AGAIN,
  BEGUN,
  END_ASKED,
  isOver,
  LEAVING,
  OVERDUE,
  PLACE,
  RESUMED,
  STARTED,
  type LiveSession,
} from "./session.ts";

const keptFailures = 10;

/**
 * Opens a session whose turn has come: what was saved, whether its first
 * message may start it, its state.
 *
 * @returns true when its handler may have its first message now
 * @internal
 */
export function open(d: Dispatcher, session: LiveSession): boolean {
  if (session.extra?.errand !== undefined) return false;
  if (!d.saved.mayHave(session.key) && d.settings.state === undefined) {
    return opened(d, session, undefined);
  }
  try {
    const saved = d.saved.load(session);
    if (isThenable(saved)) {
      openSlowly(d, session, saved);
      return false;
    }
    return judged(d, session, saved);
  } catch (error) {
    couldNotOpen(d, session, error);
    return false;
  }
}

/** Whether it may go on, now that its saved state is known; makes its state. */
function judged(d: Dispatcher, session: LiveSession, saved: unknown): boolean {
  if (!d.judge(session, saved !== undefined)) {
    notStarted(d, session);
    return false;
  }
  if (d.asynchronousState) {
    openSlowly(d, session, saved);
    return false;
  }
  const made = makeState(d, session, saved);
  if (isThenable(made)) {
    // This once its waits are nobody's, and cannot be cancelled.
    d.asynchronousState = true;
    openSlowly(d, session, saved, made);
    return false;
  }
  session.state = made;
  return opened(d, session, saved);
}

function makeState(d: Dispatcher, session: LiveSession, saved: unknown): unknown {
  const { state } = d.settings;
  if (state === undefined) return saved;
  const before = d.batchScope.owner;
  d.batchScope.owner = session;
  try {
    return state(session.key, saved);
  } finally {
    d.batchScope.owner = before;
  }
}

function openSlowly(d: Dispatcher, session: LiveSession, saving: unknown, making?: unknown): void {
  const work = async (): Promise<void> => {
    const saved = await saving;
    if (session.endReason !== undefined) {
      // The key's next session is not to begin while this one's state is being made.
      await making;
      return;
    }
    if (making === undefined && !d.judge(session, saved !== undefined)) return;
    session.state = await (making ?? makeState(d, session, saved));
    if (saved !== undefined) session.bits |= RESUMED;
  };
  runErrand(d, session, `open session ${String(session.key)}`, work, (task) => {
    if (session.endReason !== undefined) {
      // What was told to stop while it opened.
      finishSession(d, session);
      return;
    }
    const error = failureOf(task);
    if (error !== undefined) couldNotOpen(d, session, error);
    else if (session.head === undefined) notStarted(d, session);
    else {
      opened(d, session, session.has(RESUMED) ? session : undefined);
      if (session.endReason === undefined) d.queueUp(session);
    }
  });
}

function opened(d: Dispatcher, session: LiveSession, saved: unknown): boolean {
  if (saved !== undefined) session.bits |= RESUMED;
  if (!session.has(STARTED)) {
    session.bits |= STARTED;
    d.ledger.started++;
  }
  session.status = "ready";
  return true;
}

/** Its state could not be made: as if its first message had failed. */
function couldNotOpen(d: Dispatcher, session: LiveSession, error: unknown): void {
  const cancellation = cancellationOf(error, undefined);
  const first = d.take(session);
  if (session.endReason !== undefined) return;
  session.inHand = first;
  if (cancellation !== undefined)
    endSession(d, session, "cancelled", undefined, cancellation.reason);
  else failed(d, session, error);
}

/** No message of its line may start it: it never was a session. */
function notStarted(d: Dispatcher, session: LiveSession): void {
  session.status = "gone";
  d.leavePlace(session);
  d.passOn(session);
  d.changed();
}

/**
 * A handler has thrown: its message is tried again, or given up.
 *
 * @internal
 */
export function failed(d: Dispatcher, session: LiveSession, error: unknown): void {
  const envelope = session.inHand;
  if (envelope === undefined) {
    // Nothing in hand that could be tried again: the session itself has failed.
    endSession(d, session, "failed", error);
    return;
  }
  // It was to be handed over again, and its handler failed before it asked for it.
  if (session.has(AGAIN)) envelope.tries++;
  remember(d, envelope, error);
  const pause = pauseBeforeRetry(d, envelope, error);
  if (session.endReason !== undefined || session.inHand !== envelope) {
    // It was asked for a pause, and cancelled the session instead.
    d.leavePermit(session);
    return;
  }
  if (pause === undefined) {
    exhausted(d, session, envelope, error);
    return;
  }
  d.ledger.retried++;
  session.bits |= AGAIN;
  session.status = "retrying";
  d.leavePermit(session);
  if (session.has(LEAVING)) {
    endSession(d, session, "moved");
    return;
  }
  if (d.state !== "open" || pause <= 0) {
    retryNow(d, session);
    return;
  }
  session.needExtra().cancelRetry = d.settings.clock.wakeAfter(pause, () => retryNow(d, session));
}

function remember(d: Dispatcher, envelope: Envelope, error: unknown): void {
  const extra = envelope.needExtra();
  const history = (extra.history ??= []);
  history.push({ attempt: envelope.tries, error, at: d.settings.clock.now() });
  if (history.length > keptFailures) history.shift();
}

function pauseBeforeRetry(d: Dispatcher, envelope: Envelope, error: unknown): number | undefined {
  const { attempts, retryDelayMs } = d.settings;
  if (envelope.tries >= attempts) return undefined;
  try {
    const pause = retryDelayMs(envelope.tries, error, envelope.message);
    if (pause === undefined || (typeof pause === "number" && pause >= 0)) return pause;
    report(`Cannot wait before the next try: retryDelayMs gave ${String(pause)}`);
  } catch (thrown) {
    report("Cannot wait before the next try: retryDelayMs threw", thrown);
  }
  return undefined;
}

/** The pause is over, or is cut short. @internal */
export function retryNow(d: Dispatcher, session: LiveSession): void {
  if (session.status !== "retrying" && session.status !== "parked") return;
  const extra = session.needExtra();
  extra.cancelRetry?.();
  extra.cancelRetry = undefined;
  session.status = "ready";
  if (!session.has(STARTED)) {
    // It is its state that could not be made: the message goes back to where it
    // is judged, and taken, like any first one.
    session.status = "opening";
    session.bits &= ~(AGAIN | BEGUN);
    if (session.inHand !== undefined) session.putBack(session.inHand);
    session.inHand = undefined;
  }
  d.queueAgain(session);
}

function exhausted(d: Dispatcher, session: LiveSession, envelope: Envelope, error: unknown): void {
  const { onExhausted } = d.settings;
  d.leavePermit(session);
  if (onExhausted === "park" && session.has(LEAVING)) {
    // Whoever gets the partition parks it.
    endSession(d, session, "moved");
    return;
  }
  if (onExhausted === "park" && d.state === "open") {
    park(d, session);
    return;
  }
  session.inHand = undefined;
  session.bits &= ~AGAIN;
  d.ledger.bury(envelope, session.key, "exhausted", error);
  if (session.endReason !== undefined) return;
  if (onExhausted === "end") endSession(d, session, "failed", error);
  else if (!session.has(STARTED)) notStarted(d, session);
  else if ((envelope.flags & ENDS) !== 0 || session.has(END_ASKED)) endSession(d, session, "ended");
  else if (session.has(LEAVING)) endSession(d, session, "moved");
  else if (session.head !== undefined) d.queueUp(session);
  else d.quiet(session);
}

function park(d: Dispatcher, session: LiveSession): void {
  session.status = "parked";
  session.bits |= AGAIN;
  d.parked++;
  restKept(session, 1);
  if (session.inHand !== undefined) d.parkMessage(session.inHand);
  let room = d.settings.inboxSize;
  for (const envelope of [...session]) {
    if ((envelope.flags & MARK) !== 0) continue;
    d.admitAll(session, envelope);
    if (room-- > 0) d.parkMessage(envelope);
    else {
      session.remove(envelope);
      d.ledger.bury(envelope, session.key, "parked");
    }
  }
  d.seekPlaces();
}

/** What waits for the end of a parked session (`ack: "session"`) holds up nobody either. */
function restKept(session: LiveSession, count: 1 | -1): void {
  const { extra } = session;
  if (extra === undefined) return;
  for (const { feed } of extra.unsettled) feed?.keptParked(count);
}

/**
 * Decides that a session ends, and why. What its handler is doing is ended
 * first; `finishSession` goes on when it has.
 *
 * @internal
 */
export function endSession(
  d: Dispatcher,
  session: LiveSession,
  reason: EndReason,
  error?: unknown,
  cancelReason: unknown = reason,
): void {
  if (session.endReason !== undefined) return;
  const running = d.taskOfCall(session);
  session.endReason = reason;
  if (error !== undefined) session.needExtra().error = error;
  const before = session.status;
  session.status = "ending";
  d.idle.remove(session);
  stopTimers(session);
  if (before === "parked") unpark(d, session);
  if (session.has(OVERDUE)) d.leavePlace(session);
  d.leavePermitUnlessRunning(session);
  const errand = session.extra?.errand;
  if (errand !== undefined) {
    watchGrace(d, session);
    errand.request(new CancelledError(cancelReason, errand));
    return;
  }
  if (running === undefined) {
    finishSession(d, session);
    return;
  }
  if (isOver(reason)) loopStyle.finishLoop(session);
  else if (reason !== "failed") {
    watchGrace(d, session);
    running.request(new CancelledError(cancelReason, running));
  }
  if (!isOver(reason)) session.extra?.abort?.abort();
}

function stopTimers(session: LiveSession): void {
  const extra = session.extra;
  if (extra === undefined) return;
  extra.cancelRetry?.();
  extra.cancelRetry = undefined;
  for (const callOff of extra.timers) callOff();
}

/** What it holds counts again. @internal */
export function unpark(d: Dispatcher, session: LiveSession): void {
  d.parked--;
  restKept(session, -1);
  for (const envelope of [session.inHand, ...session]) {
    if (envelope === undefined || (envelope.flags & MARK) !== 0) continue;
    envelope.feed?.unparked(envelope.partition);
    d.ledger.setHeld(envelope, true);
  }
}

/** From now on what runs has `graceMs` to stop. @internal */
export function watchGrace(d: Dispatcher, session: LiveSession): void {
  const extra = session.needExtra();
  extra.cancelGrace ??= d.settings.clock.wakeAfter(d.settings.graceMs, () => ignored(d, session));
}

/** What was told to stop has stopped: what follows has not been told. */
function leaveGrace(session: LiveSession): void {
  const extra = session.extra;
  if (extra === undefined) return;
  extra.cancelGrace?.();
  extra.cancelGrace = undefined;
}

/**
 * A session that ends takes too long over it: what still runs is told to stop.
 *
 * @internal
 */
export function hastenEnd(d: Dispatcher, session: LiveSession): void {
  const running = session.handler ?? session.extra?.errand;
  // Asked already: it is cleaning up, in the time that it has for that.
  if (running === undefined || session.extra?.cancelGrace !== undefined) return;
  watchGrace(d, session);
  running.request(new CancelledError("the router drains", running));
}

/**
 * It goes on in spite of its cancellation: reported, and no longer in anybody's
 * way but its own key's.
 *
 * @internal
 */
export function ignored(d: Dispatcher, session: LiveSession): void {
  if (session.status === "gone" || session.has(OVERDUE)) return;
  if (session.handler === undefined && session.extra?.errand === undefined) return;
  session.bits |= OVERDUE;
  session.extra?.cancelGrace?.();
  d.overdue++;
  report(`${nameOf(d, session)} ignores its cancellation (${session.endReason ?? "interrupted"})`);
  settleInHand(d, session);
  settleKept(d, session);
  d.leavePermit(session);
  if (session.endReason !== undefined) d.leavePlace(session);
  d.changed();
}

/** An interrupted call has ended, in time or after all: its session goes on. @internal */
export function caughtUp(d: Dispatcher, session: LiveSession): void {
  leaveGrace(session);
  if (!session.has(OVERDUE)) return;
  session.bits &= ~OVERDUE;
  d.overdue--;
}

/** How a handler is named in reports. @internal */
export function nameOf(d: Dispatcher, session: LiveSession): string {
  const { handlerName } = d.settings;
  return `The handler${handlerName === "" ? "" : ` ${handlerName}`} of session ${show(session.key)}`;
}

/** Loop style: the handler's task has ended. @internal */
export function handlerEnded(d: Dispatcher, session: LiveSession, task: Task<unknown>): void {
  session.handler = undefined;
  session.waiter = undefined;
  d.leavePermit(session);
  collectStray(session, task);
  if (session.endReason !== undefined) {
    const error = failureOf(task);
    if (error !== undefined && isOver(session.endReason)) changeToFailed(d, session, error);
    finishSession(d, session);
    return;
  }
  if (task.cancelled()) {
    endSession(d, session, "cancelled");
    return;
  }
  // A handler that never asked for a message has had the one that started it:
  // else the key's next session would begin with it again, for ever. One that
  // asked, and went before its turn came, has not.
  const asked = session.has(BEGUN) || session.receiver !== undefined;
  if (session.inHand === undefined && session.head !== undefined && !asked) {
    session.inHand = d.take(session);
    if (session.endReason !== undefined) return;
  }
  const error = failureOf(task);
  if (error !== undefined) failed(d, session, error);
  else returned(d, session, task.result());
}

function returned(d: Dispatcher, session: LiveSession, value: unknown): void {
  const envelope = session.inHand;
  if (envelope !== undefined) d.handled(session, envelope, value);
  endSession(d, session, session.has(END_ASKED) ? "ended" : "returned");
}

function changeToFailed(d: Dispatcher, session: LiveSession, error: unknown): void {
  session.endReason = "failed";
  if (error !== undefined) session.needExtra().error = error;
  const envelope = session.inHand;
  session.inHand = undefined;
  if (envelope !== undefined) d.ledger.bury(envelope, session.key, "exhausted", error);
}

function failureOf(task: Task<unknown>): unknown {
  if (task.cancelled()) return undefined;
  const error = task.exception();
  // A handler may throw `undefined`; it has failed all the same.
  return error === undefined && !task.succeeded() ? new Error("undefined was thrown") : error;
}

/** A wait that a handler left behind lives on in a task that has ended. @internal */
export function collectStray(session: LiveSession, task: Task<unknown>): void {
  if (task.lastWait !== undefined) session.needExtra().strays.add(task);
}

/**
 * Its handler has stopped: what it had in hand is settled, its children and
 * strays are stopped, the user is told, and it is gone.
 *
 * @internal
 */
export function finishSession(d: Dispatcher, session: LiveSession): void {
  settleInHand(d, session);
  leaveGrace(session);
  const { ended, stopped } = d.settings;
  const reason = session.endReason as EndReason;
  const callback = isOver(reason) || reason === "failed" ? ended : stopped;
  const extra = session.extra;
  const busy =
    extra !== undefined &&
    (extra.children.size > 0 || extra.strays.size > 0 || extra.saving !== undefined);
  const tell = callback !== undefined && session.has(STARTED);
  if (!busy && !tell && !d.saved.mustForget(session)) {
    gone(d, session);
    return;
  }
  runErrand(
    d,
    session,
    `end session ${String(session.key)}`,
    () => wrapUp(d, session, tell ? callback : undefined),
    () => gone(d, session),
  );
}

async function wrapUp(
  d: Dispatcher,
  session: LiveSession,
  callback: ((session: LiveSession, reason: EndReason) => unknown) | undefined,
): Promise<void> {
  try {
    await stopChildren(d, session);
    const reason = session.endReason as EndReason;
    try {
      if (callback !== undefined) await callback(session, reason);
    } catch (error) {
      if (cancellationOf(error, undefined) === undefined) {
        const which = isOver(reason) || reason === "failed" ? "ended" : "stopped";
        report(`The session of key ${show(session.key)} is ${reason}, and ${which} threw`, error);
      }
    }
    await stopChildren(d, session);
  } finally {
    await session.extra?.saving;
    if (d.saved.mustForget(session)) {
      await d.saved.forget(session).catch((error: unknown) => {
        report(`Cannot forget what was saved for key ${show(session.key)}`, error);
      });
    }
  }
}

/** Cancels the children and waits for them; ends what earlier calls left waiting. */
async function stopChildren(d: Dispatcher, session: LiveSession): Promise<void> {
  const extra = session.extra;
  if (extra === undefined) return;
  for (const stray of extra.strays) {
    const error = new CancelledError("its session has ended", stray);
    while (stray.lastWait !== undefined) {
      stray.lastWait.abandon(error);
      d.ledger.leftovers++;
    }
  }
  extra.strays.clear();
  while (extra.children.size > 0) {
    const children = [...extra.children];
    watchGrace(d, session);
    for (const child of children) child.cancel("its session has ended");
    // allSettled calls their `then` in this very errand: to stop it is to stop them.
    await Promise.allSettled(children);
    for (const child of children) extra.children.delete(child);
  }
  leaveGrace(session);
}

/** What becomes of the message in hand when its session stops. */
function settleInHand(d: Dispatcher, session: LiveSession): void {
  const envelope = session.inHand;
  if (envelope === undefined) return;
  session.inHand = undefined;
  session.bits &= ~AGAIN;
  const { key } = session;
  const reason = session.endReason;
  if ((envelope.flags & INTERRUPTED) !== 0) d.ledger.done(envelope, "interrupted", undefined, key);
  else if (envelope.feed?.partitioned === true && (reason === "moved" || reason === "drained")) {
    d.ledger.release(envelope, key);
  } else if (reason === "drained") d.ledger.bury(envelope, key, "drained");
  else d.ledger.bury(envelope, key, "cancelled");
}

/** What waited for its end (`ack: "session"`) is settled. */
function settleKept(d: Dispatcher, session: LiveSession): void {
  const { extra, endReason } = session;
  if (extra !== undefined && extra.unsettled.length > 0 && endReason !== undefined) {
    d.settleSession(session, endReason);
  }
}

/** Nothing of it is left. */
function gone(d: Dispatcher, session: LiveSession): void {
  if (session.status === "gone") return;
  session.status = "gone";
  // A Map that is added to and deleted from goes on holding what it held, in the
  // tables that it has outgrown, until the next full collection (seen: 15 MB of
  // ended sessions copied at every minor one). So little hangs on a session then.
  session.scope = session.point = session.receiver = undefined;
  const reason = session.endReason as EndReason;
  const extra = session.extra;
  if (extra !== undefined) {
    leaveGrace(session);
    settleKept(d, session);
    d.ledger.leftovers += extra.timers.size + extra.children.size;
  }
  if (session.has(OVERDUE)) d.overdue--;
  if (session.has(STARTED)) {
    d.ledger.ended[reason]++;
    d.ended.add(session, d.time());
  }
  session.bits &= ~OVERDUE;
  const hadPlace = session.has(PLACE);
  if (hadPlace) d.leavePlace(session);
  d.passOn(session);
  d.seekPlaces();
  d.changed();
}

/** A child has ended, or an errand. @internal */
export function childEnded(d: Dispatcher, session: LiveSession, task: Task<unknown>): void {
  const extra = session.extra;
  if (extra === undefined) return;
  extra.children.delete(task);
  if (!task.cancelled() && !task.succeeded()) {
    // As for a promise: reported unless somebody reads it before the microtasks have run.
    queueMicrotask(() => {
      if (!task.wasRead()) {
        report(`${task.name} of session ${show(session.key)} has failed`, task.exception());
      }
    });
  }
  d.touched(session);
}

/** Runs `work` as a task in the session's scope, and calls `then` when it has ended. */
function runErrand(
  d: Dispatcher,
  session: LiveSession,
  name: string,
  work: () => Promise<void>,
  then: (task: Task<unknown>) => void,
): void {
  const scope = d.scopeOf(session);
  const task = new Task<unknown>(scope, name, "");
  resetScope(scope);
  const extra = session.needExtra();
  extra.errand = task;
  task.keeper = {
    taskEnded() {
      extra.errand = undefined;
      if (scope.task === task) scope.task = undefined;
      then(task);
    },
  };
  enlist(task);
  d.runIn(scope, (starting: Task<unknown>) => starting.start(work), task);
}
