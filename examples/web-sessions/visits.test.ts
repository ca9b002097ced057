// The visits that the router cuts are those of a plain program which sorts the
// whole log first. It has its own parser, so that neither hides the other's faults.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { SessionRouter, type SessionRouterOptions } from "heddle/session";
import { describe, expect, test } from "vitest";
import visits, { parseHit, type Hit, type Visit } from "./visits.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const lines = readFileSync(new URL("access.log", import.meta.url), "utf8")
  .trimEnd()
  .split("\n");
const hits = lines.map((line) => parseHit(line) as Hit);

const second = 1_000;
const minute = 60 * second;
const gaps = [30 * minute, 5 * minute, minute, 10 * second, 2 * second, second];

test("parseHit reads every line of the log", () => {
  expect(lines).toHaveLength(10_000);
  expect(hits).toEqual(lines.map(plainHit));
});

test("parseHit skips an empty line and refuses what is not a log's", () => {
  expect(parseHit("")).toBe(undefined);
  expect(() => parseHit("hello")).toThrow(SyntaxError);
  const [, rest] = /^(?:.*?)(\] .*)$/.exec(lines[0] as string) as unknown as [string, string];
  expect(() => parseHit(`1.2.3.4 - - [17/Mai/2015:10:05:03 +0000${rest}`)).toThrow(
    'Cannot read the time "17/Mai/2015:10:05:03 +0000"',
  );
});

test("parseHit reads a time with its zone, and no bytes as 0", () => {
  expect(parseHit('::1 - ann [01/Jan/2024:01:30:00 +0130] "GET / HTTP/1.1" 304 -')).toEqual({
    client: "::1",
    time: Date.UTC(2024, 0, 1),
    status: 304,
    bytes: 0,
  });
});

test("The log is out of order, and by less than latenessMs", () => {
  let greatest = -Infinity;
  let latest = 0;
  for (const { time } of hits) {
    latest = Math.max(latest, greatest - time);
    greatest = Math.max(greatest, time);
  }
  expect(latest).toBeGreaterThan(0);
  expect(latest).toBeLessThanOrEqual(visits.latenessMs as number);
});

describe.each(gaps)("Visits with a gap of %i ms", (gap) => {
  const expected = plainVisits(hits, gap);

  test("are those of the sorted log when it is consumed", async () => {
    expect(await routed(gap, (router) => router.consume(hits))).toEqual(expected);
  });

  test("are those of the sorted log when it is sent in one go, but for those not over yet", async () => {
    const watermark = Math.max(...hits.map(({ time }) => time)) - (visits.latenessMs as number);
    const lastOf = new Map(expected.map(({ client, last }) => [client, last]));
    // What is sent has no end: the last visit of a client may go on, unless the log shows that it does not.
    const over = ({ client, last }: Visit): boolean =>
      last !== lastOf.get(client) || Date.parse(last) + gap <= watermark;
    const found = await routed(gap, (router) => {
      expect(hits.every((hit) => router.trySend(hit))).toBe(true);
    });
    expect(found).toEqual(expected.filter(over));
    expect(found.length).toBeLessThan(expected.length);
  });

  test.each([1, 2, 3])(
    "are the same for a log shuffled within latenessMs (seed %i)",
    async (seed) => {
      const shuffled = shuffledWithin(visits.latenessMs as number, seed);
      expect(shuffled).not.toEqual(hits);
      expect(await routed(gap, (router) => router.consume(shuffled))).toEqual(expected);
    },
  );

  test("hold every line of the log", () => {
    expect(expected.reduce((sum, { pages }) => sum + pages, 0)).toBe(lines.length);
  });
});

test(
  "heddle run writes the visits of the log and leaves nothing pending",
  { timeout: 60_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-visits-"));
    try {
      const output = join(folder, "visits.ndjson");
      const example = "examples/web-sessions";
      const args = ["dist/cli/bin.js", "run", `${example}/visits.ts`, "--json"];
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [...args, "--input", `${example}/access.log`, "--output", output],
        { cwd: root, env: { ...process.env, NODE_OPTIONS: "" } },
      );
      const written = readFileSync(output, "utf8").trimEnd().split("\n");
      const found = written.map((line) => JSON.parse(line) as Visit);
      expect(sorted(found)).toEqual(plainVisits(hits, 30 * minute));
      expect(stdout).toBe("");
      expect(JSON.parse(stderr.trimEnd().split("\n").at(-1) as string)).toMatchObject({
        handled: lines.length,
        started: found.length,
        late: 0,
        deadLettered: 0,
        dropped: 0,
        pending: 0,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

type VisitsRouter = SessionRouter<Hit, string, undefined, Visit>;

/** The visits that a router with this gap finds in what `play` gives it. */
async function routed(
  idleMs: number,
  play: (router: VisitsRouter) => Promise<void> | void,
): Promise<Visit[]> {
  const found: Visit[] = [];
  const { parse: _parse, ...options } = visits;
  const router: VisitsRouter = new SessionRouter({
    ...(options as SessionRouterOptions<Hit, string, undefined, Visit>),
    idleMs,
    output: (visit) => found.push(visit),
  });
  await play(router);
  const report = await router.drain();
  expect(report).toMatchObject({ pending: 0, deadLettered: 0, released: 0 });
  expect(router.statistics()).toMatchObject({
    handled: lines.length,
    live: 0,
    late: 0,
    dropped: 0,
    leftovers: 0,
  });
  return sorted(found);
}

/** The oracle: sort by time, group by client, cut where nothing came for `gap`. */
function plainVisits(log: readonly Hit[], gap: number): Visit[] {
  const ofClient = new Map<string, Hit[]>();
  for (const hit of log.toSorted((one, other) => one.time - other.time)) {
    ofClient.set(hit.client, [...(ofClient.get(hit.client) ?? []), hit]);
  }
  const found: Visit[] = [];
  for (const own of ofClient.values()) {
    let from = 0;
    for (let to = 1; to <= own.length; to++) {
      const goesOn = to < own.length && own[to]!.time - own[to - 1]!.time < gap;
      if (goesOn) continue;
      found.push(plainVisit(own.slice(from, to)));
      from = to;
    }
  }
  return sorted(found);
}

function plainVisit(own: readonly Hit[]): Visit {
  const answered = (status: number): number => own.filter((hit) => hit.status === status).length;
  return {
    client: own[0]!.client,
    first: new Date(own[0]!.time).toISOString(),
    last: new Date(own.at(-1)!.time).toISOString(),
    pages: own.length,
    bytes: own.reduce((sum, { bytes }) => sum + bytes, 0),
    statuses: Object.fromEntries(own.map(({ status }) => [status, answered(status)])),
  };
}

/** By place in the line, not by pattern. */
function plainHit(line: string): Hit {
  const [client, , , day] = line.split(" ") as [string, string, string, string];
  // Quotes within a request are escaped; none are in this log.
  const [, , afterRequest] = line.split('"') as [string, string, string];
  const [status, bytes] = afterRequest.trim().split(" ");
  const [date, hours, minutes, seconds] = day.slice(1).split(":") as [string, ...string[]];
  expect(date.slice(3)).toBe("May/2015");
  return {
    client,
    time: Date.UTC(
      2015,
      4,
      Number(date.slice(0, 2)),
      Number(hours),
      Number(minutes),
      Number(seconds),
    ),
    status: Number(status),
    bytes: bytes === "-" ? 0 : Number(bytes),
  };
}

function sorted(found: readonly Visit[]): Visit[] {
  const place = ({ client, first }: Visit): string => `${first} ${client}`;
  return found.toSorted((one, other) => (place(one) < place(other) ? -1 : 1));
}

/** The log in an order in which no line comes more than `ms` behind a later one. */
function shuffledWithin(ms: number, seed: number): Hit[] {
  const random = randomFrom(seed);
  return hits
    .map((hit) => ({ hit, place: hit.time + random() * ms }))
    .toSorted((one, other) => one.place - other.place)
    .map(({ hit }) => hit);
}

/** Mulberry32: the same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
