// A picture of the router: counters as they are, and what is cheaper to count
// when somebody asks than to keep.
import type { Dispatcher } from "./dispatcher.ts";
import type { RouterStatistics } from "./options.ts";
import { heaviest } from "./why.ts";

const keysNamed = 5;

/** @internal */
export function statistics(d: Dispatcher): RouterStatistics {
  const { ledger } = d;
  const waiting = waitingMessages(d);
  return Object.freeze({
    state: d.state,
    live: d.live,
    running: d.running,
    queued: waiting.count,
    held: Object.freeze({ messages: ledger.held, keys: Object.freeze(heaviest(d, keysNamed)) }),
    oldestMs: waiting.count === 0 ? 0 : Math.max(0, d.time() - waiting.oldest),
    parked: d.parked,
    overdue: d.overdue,
    handled: ledger.handled,
    started: ledger.started,
    peakLive: d.peakLive,
    ended: Object.freeze({ ...ledger.ended }),
    late: ledger.late,
    invalid: ledger.invalid,
    deadLettered: ledger.deadLettered,
    dropped: ledger.dropped,
    interrupted: ledger.interrupted,
    retried: ledger.retried,
    leftovers: ledger.leftovers,
    forced: Object.freeze({
      evictions: ledger.forcedEvictions,
      watermarks: ledger.forcedWatermarks,
    }),
    source: sourceStatistics(d),
  });
}

function waitingMessages(d: Dispatcher): { count: number; oldest: number } {
  let count = d.eventTime?.held ?? 0;
  let oldest = Infinity;
  for (const envelope of d.eventTime?.waiting() ?? []) oldest = Math.min(oldest, envelope.at);
  if (d.ledger.held === 0 && d.parked === 0) return { count, oldest };
  for (const session of d.sessions.values()) {
    count += session.length;
    for (const envelope of session) {
      oldest = Math.min(oldest, envelope.at);
      break;
    }
    if (session.status === "retrying" || session.status === "parked") {
      count++;
      oldest = Math.min(oldest, session.inHand?.at ?? Infinity);
    }
  }
  return { count, oldest };
}

function sourceStatistics(d: Dispatcher): { connected: boolean; partitions: number } | undefined {
  if (d.feeds.size === 0) return undefined;
  const feeds = [...d.feeds];
  return Object.freeze({
    connected: feeds.every((feed) => feed.connected),
    partitions: feeds.reduce((sum, feed) => sum + feed.partitions.size, 0),
  });
}
