// A partition goes to somebody else: its sessions start no more messages, finish
// or stop what runs, end as moved, and give back what is queued.
import type { Dispatcher } from "./dispatcher.ts";
import type { Feed } from "./consume.ts";
import { endSession, hastenEnd } from "./lifecycle.ts";
import { AGAIN, LEAVING, OVERDUE, type LiveSession } from "./session.ts";

/**
 * @param withinMs How long the message in hand may take; then it is given back
 * @param lost The engine has given the partition away already: nothing is settled
 * @internal
 */
export async function handOver(
  d: Dispatcher,
  feed: Feed,
  partition: string,
  withinMs: number,
  lost: boolean,
): Promise<void> {
  if (lost) d.ledger.forget(feed, partition);
  for (const { key, envelope } of d.eventTime?.takeOut(feed, partition) ?? []) {
    d.ledger.release(envelope, key);
  }
  const leaving = new Set<LiveSession>();
  for (const session of d.sessions.values()) {
    giveBackQueue(d, session, feed, partition);
    if (!isOf(session, feed, partition)) continue;
    leaving.add(session);
    letGo(d, session, lost);
  }
  // A dead letter on its way and a settlement under way are waited for as well.
  if (leaving.size === 0 && (lost || feed.unsettledIn(partition) === 0)) return;
  await allGone(d, { feed, partition, leaving, lost }, lost ? 0 : withinMs);
}

/** Whether it is a session of that partition, or has something in hand from there. */
function isOf(session: LiveSession, feed: Feed, partition: string): boolean {
  const { extra, inHand } = session;
  return (
    (extra?.feed === feed && extra.partition === partition) ||
    (inHand?.feed === feed && inHand.partition === partition) ||
    extra?.unsettled.some((kept) => kept.feed === feed && kept.partition === partition) === true
  );
}

function giveBackQueue(d: Dispatcher, session: LiveSession, feed: Feed, partition: string): void {
  const { key } = session;
  for (const envelope of [...session]) {
    if (envelope.feed !== feed || envelope.partition !== partition) continue;
    session.remove(envelope);
    if (session.status === "parked") envelope.feed.unparked(partition);
    d.ledger.release(envelope, key);
  }
  d.dropIfEmpty(session);
}

/** Its message in hand may be finished, unless the partition is lost; it gets no other. */
function letGo(d: Dispatcher, session: LiveSession, lost: boolean): void {
  if (session.endReason !== undefined) return;
  const running = session.inHand !== undefined && !session.has(AGAIN);
  if (running && !lost) session.bits |= LEAVING;
  else endSession(d, session, "moved");
}

interface Leaving {
  readonly feed: Feed;
  readonly partition: string;
  readonly leaving: Set<LiveSession>;
  readonly lost: boolean;
}

/** Waits until the sessions are gone and all is settled; what still runs after `withinMs` is cancelled. */
function allGone(d: Dispatcher, what: Leaving, withinMs: number): Promise<void> {
  const { feed, partition, leaving, lost } = what;
  return new Promise((resolve) => {
    let cancelTimer: (() => void) | undefined;
    const look = (): void => {
      for (const session of leaving) {
        // One that ignores its cancellation is waited for no longer: nothing of
        // it will be settled any more.
        if (session.status === "gone" || session.has(OVERDUE)) leaving.delete(session);
      }
      if (leaving.size > 0 || (!lost && feed.unsettledIn(partition) > 0)) return;
      d.watchers.delete(look);
      cancelTimer?.();
      resolve();
    };
    const stop = (): void => {
      for (const session of leaving) {
        if (session.endReason === undefined) endSession(d, session, "moved");
        else hastenEnd(d, session);
      }
      if (!lost) d.ledger.giveUpLetters(feed, partition);
      look();
    };
    d.watchers.add(look);
    d.watch();
    look();
    if (!d.watchers.has(look)) return;
    if (withinMs <= 0) stop();
    else cancelTimer = d.settings.clock.wakeAfter(withinMs, stop);
  });
}
