// With event time the result is that of the sorted input, however the messages
// are shuffled within `latenessMs`, and however slow or fast their handlers are.
import fc from "fast-check";
import { expect, test } from "vitest";
import { memorySource } from "heddle/memory";
import { type EndReason, SessionRouter } from "heddle/session";
import { VirtualClock } from "heddle/testing";
import { runs } from "./test-support/check.ts";
import { later, turns } from "./test-support/world.ts";

interface Hit {
  readonly n: number;
  readonly key: string;
  readonly time: number;
  readonly end: boolean;
  readonly turns: number;
  readonly ms: number;
}

/** What a session has seen, and how it ended. */
type Visit = readonly [key: string, hits: readonly number[], reason: EndReason];

/** The straightforward way: sort, then cut. */
function sessionsOf(hits: readonly Hit[], idleMs: number, latenessMs: number): Visit[] {
  const visits: Visit[] = [];
  for (const key of new Set(hits.map((hit) => hit.key))) {
    const own = hits.filter((hit) => hit.key === key);
    let current: Hit[] = [];
    const cut = (reason: EndReason): void => {
      if (current.length > 0) visits.push([key, current.map(({ n }) => n), reason]);
      current = [];
    };
    for (const hit of own.toSorted((one, other) => one.time - other.time || one.n - other.n)) {
      const last = current.at(-1);
      if (last !== undefined && hit.time - last.time >= idleMs) cut("idle");
      current.push(hit);
      if (hit.end) cut("ended");
    }
    // Its last session is idle only if the watermark showed it before the end.
    const last = current.at(-1);
    const watermark = Math.max(...hits.map(({ time }) => time)) - latenessMs;
    cut(last !== undefined && last.time + idleMs <= watermark ? "idle" : "sourceEnded");
  }
  return visits;
}

const plans = fc
  .record({
    hits: fc.array(
      fc.record({
        key: fc.constantFrom("a", "b", "c"),
        // Mostly close together, now and then a gap.
        gap: fc.oneof({ weight: 4, arbitrary: fc.nat({ max: 5 }) }, fc.nat({ max: 40 })),
        shift: fc.nat({ max: 20 }),
        end: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
        turns: fc.nat({ max: 4 }),
        ms: fc.constantFrom(0, 0, 1, 30),
      }),
      { maxLength: 40 },
    ),
    idleMs: fc.integer({ min: 1, max: 30 }),
    latenessMs: fc.nat({ max: 20 }),
    style: fc.constantFrom("loop", "message", "sync"),
    from: fc.constantFrom("array", "async", "memory", "partitions"),
    inboxSize: fc.integer({ min: 1, max: 3 }),
    maxRunning: fc.constantFrom(Infinity, 1),
    asyncState: fc.boolean(),
  })
  .map(({ hits, ...rest }) => {
    // The true order, and how late each one arrives, never more than latenessMs.
    let time = 0;
    const sent = hits.map(({ gap, shift, ...hit }) => {
      time += gap;
      return { ...hit, time, arrives: time + (shift % (rest.latenessMs + 1)) };
    });
    const arrived = sent
      .toSorted((one, other) => one.arrives - other.arrives)
      .map((hit, n): Hit => ({ ...hit, n }));
    return { ...rest, arrived };
  });

test("SessionRouter gives the sorted input's result with latenessMs, however its messages are shuffled and handled", async () => {
  const property = fc.asyncProperty(plans, async (plan) => {
    const { arrived, idleMs, latenessMs, style, from } = plan;
    const clock = new VirtualClock();
    const seen = new Map<object, number[]>();
    const visits: Visit[] = [];
    const work = async (hit: Hit, session: object): Promise<void> => {
      await turns(hit.turns);
      if (hit.ms > 0) await later(clock, hit.ms);
      seen.set(session, [...(seen.get(session) ?? []), hit.n]);
    };
    const common = {
      key: (hit: Hit) => hit.key,
      time: (hit: Hit) => hit.time,
      ends: (hit: Hit) => hit.end,
      ended: (session: { readonly key: string }, reason: EndReason) => {
        visits.push([session.key, seen.get(session) ?? [], reason]);
      },
      state: plan.asyncState ? (): unknown => turns(2) : undefined,
      latenessMs,
      idleMs,
      inboxSize: plan.inboxSize,
      maxRunning: plan.maxRunning,
      clock,
    };
    const router = new SessionRouter<Hit, string, unknown>(
      style === "loop"
        ? {
            ...common,
            async session(session) {
              for await (const hit of session) await work(hit, session);
            },
          }
        : {
            ...common,
            message: (hit, session) => {
              if (style === "message") return work(hit, session);
              seen.set(session, [...(seen.get(session) ?? []), hit.n]);
              return undefined;
            },
          },
    );
    let consumed = false;
    void router.consume(sourceOf(arrived, from)).then(() => (consumed = true));
    await clock.settle();
    await clock.runToEnd();
    expect(consumed).toBe(true);
    // One partition's watermark knows nothing of another's.
    const reasons = from !== "partitions";
    const plain = (list: readonly Visit[]): unknown[] =>
      list.map(([key, hits, reason]) => [key, hits, reasons ? reason : ""]).toSorted(byText);
    expect(plain(visits)).toEqual(plain(sessionsOf(arrived, idleMs, latenessMs)));
    const { handled, late, deadLettered, dropped, held, live } = router.statistics();
    expect({ handled, late, deadLettered, dropped, held: held.messages, live }).toEqual({
      handled: arrived.length,
      late: 0,
      deadLettered: 0,
      dropped: 0,
      held: 0,
      live: 0,
    });
    await router.drain();
    expect(clock.waiting).toBe(0);
  });
  await fc.assert(property, runs(1_000));
}, 3_600_000);

function byText(one: unknown, other: unknown): number {
  return JSON.stringify(one) < JSON.stringify(other) ? -1 : 1;
}

function sourceOf(
  hits: readonly Hit[],
  from: string,
): Iterable<Hit> | AsyncIterable<Hit> | ReturnType<typeof memorySource<Hit>> {
  if (from === "array") return hits;
  if (from === "memory") return memorySource(hits);
  if (from === "partitions") return memorySource(hits, { key: (hit) => hit.key, partitions: 2 });
  return (async function* () {
    for (const hit of hits) {
      await turns(hit.turns);
      yield hit;
    }
  })();
}
