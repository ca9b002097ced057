// The visits in a web server's log: one session per client address, over after
// half an hour of silence in the log's own time.
import { defineSessions } from "heddle/session";

/** What a visit needs of one line of the log. */
export interface Hit {
  readonly client: string;
  /** When the request came, in milliseconds since 1970 */
  readonly time: number;
  readonly status: number;
  readonly bytes: number;
}

/** What becomes one line of the output. */
export interface Visit {
  readonly client: string;
  readonly first: string;
  readonly last: string;
  /** How many requests it made */
  readonly pages: number;
  readonly bytes: number;
  /** How often each status was answered */
  readonly statuses: Readonly<Record<string, number>>;
}

export default defineSessions({
  parse: parseHit,
  key: (hit: Hit) => hit.client,
  time: (hit) => hit.time,
  // The server writes a line when the answer is sent, so lines are up to a minute out of order.
  latenessMs: 60_000,
  idleMs: 30 * 60_000,

  async session(visit): Promise<Visit> {
    let first = Infinity;
    let last = -Infinity;
    let pages = 0;
    let bytes = 0;
    const statuses: Record<string, number> = {};
    for await (const hit of visit) {
      first = Math.min(first, hit.time);
      last = Math.max(last, hit.time);
      pages += 1;
      bytes += hit.bytes;
      statuses[hit.status] = (statuses[hit.status] ?? 0) + 1;
    }
    // Only when the visit is over: a session that has to stop before leaves its loop with a CancelledError.
    return {
      client: visit.key,
      first: isoTime(first),
      last: isoTime(last),
      pages,
      bytes,
      statuses,
    };
  },
});

// The combined log format: client, identity, user, [time], "request", status, bytes, "referrer",
// "agent". What comes after the bytes is not looked at: agents may be cut off in the middle.
const combined = /^(\S+) \S+ \S+ \[([^\]]+)\] "(?:[^"\\]|\\.)*" (\d{3}) (\d+|-)(?: |$)/;

/**
 * @returns `undefined` for an empty line
 * @throws {SyntaxError} If the line is not one of a log; it becomes a dead letter
 */
export function parseHit(line: string): Hit | undefined {
  if (line.trim() === "") return undefined;
  const [, client, time, status, bytes] = combined.exec(line) ?? [];
  if (client === undefined || time === undefined) {
    throw new SyntaxError("Cannot read the line: it is not in the combined log format");
  }
  return {
    client,
    time: parseTime(time),
    status: Number(status),
    bytes: bytes === "-" ? 0 : Number(bytes),
  };
}

/** `17/May/2015:10:05:03 +0000` */
function parseTime(text: string): number {
  const [, day, month, year, clock, zone] =
    /^(\d\d)\/(\w{3})\/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})$/.exec(text) ?? [];
  const time = Date.parse(`${day} ${month} ${year} ${clock} ${zone}`);
  if (Number.isNaN(time)) throw new SyntaxError(`Cannot read the time "${text}"`);
  return time;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
