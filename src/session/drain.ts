// The end of a router: everything that was accepted is handled, dead-lettered
// or given back, and nothing is pending afterwards.
import { nextTurn } from "../task/clock.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { MARK } from "./inbox.ts";
import { endSession, nameOf, retryNow } from "./lifecycle.ts";
import type { DrainReport } from "./options.ts";
import { OVERDUE, type LiveSession } from "./session.ts";

/** @internal */
export async function drain(d: Dispatcher, deadlineMs: number): Promise<DrainReport> {
  const begun = d.settings.clock.now();
  const before = { deadLettered: d.ledger.deadLettered, released: d.ledger.released };
  d.state = "draining";
  const endedByThemselves = d.sourcesSeen > 0 && d.sourcesEnded === d.sourcesSeen;
  d.drainReason = endedByThemselves ? "sourceEnded" : "drained";
  const parked = settleParked(d);
  const closing = closeFeeds(d, deadlineMs);
  d.afterValidation(() => {
    d.eventTime?.flushAll();
    endQuiet(d);
  });
  await until(d, () => isEmpty(d), deadlineMs);
  if (!isEmpty(d)) await stopAll(d);
  if (d.ledger.pendingLetters > 0) d.ledger.giveUpLetters();
  d.refuseSenders();
  // A source that does not close is not waited for longer than a handler that does not stop.
  const left = (): number =>
    Math.max(0, begun + deadlineMs + d.settings.graceMs - d.settings.clock.now());
  await until(d, () => d.feeds.size === 0, left());
  if (d.feeds.size === 0) await closing;
  // A source may have brought something while it was being closed.
  await until(d, () => d.ledger.pendingLetters === 0, left());
  d.ledger.close();
  const ignored = [...d.sessions.values()].filter((session) => session.has(OVERDUE));
  d.state = "closed";
  d.idle.tidy();
  return Object.freeze({
    pending: ignored.length,
    ignored: Object.freeze(ignored.map((session) => nameOf(d, session))),
    parked,
    deadLettered: d.ledger.deadLettered - before.deadLettered,
    released: d.ledger.released - before.released,
  });
}

function isEmpty(d: Dispatcher): boolean {
  return (
    d.sessions.size === 0 &&
    d.ledger.held === 0 &&
    d.ledger.pendingLetters === 0 &&
    d.validating === 0
  );
}

/** Sources with partitions hand them over; of others no more is read. */
async function closeFeeds(d: Dispatcher, deadlineMs: number): Promise<void> {
  await Promise.all(
    [...d.feeds].map((feed) =>
      feed.partitioned && !feed.hasEnded ? feed.handOverAll(deadlineMs) : feed.close(),
    ),
  );
}

/** What is parked is given back, or dead-lettered; the sessions end. */
function settleParked(d: Dispatcher): number {
  let messages = 0;
  for (const session of [...d.sessions.values()]) {
    if (session.status !== "parked") continue;
    messages += session.length + (session.inHand === undefined ? 0 : 1);
    for (const envelope of [...session]) {
      if ((envelope.flags & MARK) === 0) settleUnhandled(d, session, envelope);
      else session.remove(envelope);
    }
    endSession(d, session, "drained");
  }
  return messages;
}

function settleUnhandled(
  d: Dispatcher,
  session: LiveSession,
  envelope: NonNullable<LiveSession["head"]>,
): void {
  session.remove(envelope);
  if (session.status === "parked") {
    envelope.feed?.unparked(envelope.partition);
    d.ledger.setHeld(envelope, true);
  }
  if (envelope.feed?.partitioned === true) d.ledger.release(envelope, session.key);
  else d.ledger.bury(envelope, session.key, "drained");
}

/** Retries come at once; what has nothing to do ends. */
function endQuiet(d: Dispatcher): void {
  for (const session of [...d.sessions.values()]) {
    if (session.status === "retrying") retryNow(d, session);
    else if (session.status === "quiet") endSession(d, session, d.drainReason);
  }
}

/** Past the deadline: everything that still runs is told to stop, and has `graceMs` for it. */
async function stopAll(d: Dispatcher): Promise<void> {
  d.drainReason = "drained";
  d.givesUp = true;
  d.refuseSenders();
  for (const session of [...d.sessions.values()]) {
    for (const envelope of [...session]) {
      if ((envelope.flags & MARK) === 0) settleUnhandled(d, session, envelope);
      else session.remove(envelope);
    }
    if (session.status === "waiting") d.dropIfEmpty(session);
    else if (session.endReason === undefined) endSession(d, session, "drained");
    else d.hasten(session);
  }
  d.ledger.giveUpLetters();
  const stopped = (): boolean =>
    [...d.sessions.values()].every((session) => session.has(OVERDUE)) && d.ledger.held === 0;
  await until(d, stopped, d.settings.graceMs);
  if (!stopped()) {
    // What tidies up after a handler that has stopped was not told to yet.
    for (const session of d.sessions.values()) d.hasten(session);
    await new Promise<void>(nextTurn);
  }
  // The grace of what was told to stop just now ends at this very moment.
  for (const session of d.sessions.values()) d.markOverdue(session);
}

/** Resolves when `done()` holds, at the latest after `ms`. */
function until(d: Dispatcher, done: () => boolean, ms: number): Promise<void> {
  return new Promise((resolve) => {
    let cancelTimer: (() => void) | undefined;
    const finish = (): void => {
      d.watchers.delete(look);
      cancelTimer?.();
      resolve();
    };
    const look = (): void => {
      if (done()) finish();
    };
    if (done()) {
      resolve();
      return;
    }
    d.watchers.add(look);
    d.watch();
    if (ms < Infinity) cancelTimer = d.settings.clock.wakeAfter(ms, finish);
  });
}
