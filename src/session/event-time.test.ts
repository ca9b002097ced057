// Event time: what the sessions see is the sorted input, and gaps of `idleMs`
// are gaps in the messages' own time.
import { expect, test } from "vitest";
import { memorySource } from "../broker/memory/index.ts";
import { m, Rig, styles, type Message, type RigOptions } from "./test-support/rig.ts";

const timed: RigOptions = { time: (message) => message.time ?? 0 };

/** `t("a", 5)`: message a5 of key a, of time 5. */
function t(key: string, time: number, more: Partial<Message> = {}): Message {
  return m(`${key}${time}`, { time, ...more });
}

function sessions(rig: Rig): string[] {
  return rig.log.filter((line) => !/ (over|finally|cancelled)$/.test(line));
}

test.for(styles)(
  "SessionRouter holds a message until the watermark reaches it, then hands over in order of time (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, latenessMs: 10 });
    await rig.consume([t("a", 20), t("a", 15), t("a", 12), t("a", 25)]);
    expect(rig.began).toEqual(["a12", "a15"]);
    expect(rig.router.statistics()).toMatchObject({ queued: 2, held: { messages: 2 }, handled: 2 });
    await rig.push(t("b", 30));
    expect(rig.began).toEqual(["a12", "a15", "a20"]);
    await rig.push(t("b", 34), t("b", 35));
    expect(rig.began).toEqual(["a12", "a15", "a20", "a25"]);
  },
);

test.for(styles)(
  "SessionRouter hands messages over at once without lateness, those of one time in their order (%s)",
  async (style) => {
    const rig = new Rig(style, timed);
    await rig.consume([m("a1", { time: 5 }), m("a2", { time: 5 }), m("b1", { time: 7 })]);
    expect(rig.done.toSorted()).toEqual(["a1", "a2", "b1"]);
    expect(rig.done.indexOf("a1")).toBeLessThan(rig.done.indexOf("a2"));
  },
);

test.for(styles)(
  "SessionRouter measures gaps of idleMs in event time, and not on the clock (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 100 });
    await rig.consume([t("a", 0), t("a", 99), t("a", 198)]);
    await rig.clock.advance(1_000_000);
    expect(rig.told).toEqual([]);
    await rig.push(t("a", 298));
    expect(sessions(rig)).toEqual(["a0", "a99", "a198", "ended a idle", "a298"]);
    expect(rig.router.statistics()).toMatchObject({ started: 2, ended: { idle: 1 } });
  },
);

test.for(styles)(
  "SessionRouter ends a session as idle when another key's messages move the watermark past its idleMs (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 100 });
    await rig.consume([t("a", 0), t("b", 99)]);
    expect(rig.told).toEqual([]);
    await rig.push(t("b", 100));
    expect(rig.told).toEqual(["ended a idle"]);
    expect(rig.router.statistics().live).toBe(1);
  },
);

test.for(styles)(
  "SessionRouter puts no end between messages that a late one joins (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 10, latenessMs: 20 });
    await rig.consume([t("a", 0), t("a", 16), t("a", 8), t("b", 60)]);
    expect(sessions(rig)).toEqual(["a0", "a8", "a16", "ended a idle"]);
    expect(rig.router.statistics().started).toBe(1);
  },
);

test.for(styles)(
  "SessionRouter lets a message behind the watermark join the live session within idleMs; else it is late (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 10 });
    await rig.consume([t("a", 100), t("a", 91), t("a", 81), t("b", 99)]);
    expect(rig.done).toEqual(["a100", "a91"]);
    expect(rig.fates.toSorted()).toEqual([
      "a100 done",
      "a81 dead late",
      "a91 done",
      "b99 dead late",
    ]);
    await rig.push(t("a", 82));
    expect(rig.done).toEqual(["a100", "a91", "a82"]);
    expect(rig.router.statistics()).toMatchObject({ late: 2, started: 1 });
  },
);

test.for(styles)(
  "SessionRouter hands over what is held when its source ends, with its gaps, and ends the last sessions (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 10, latenessMs: 1_000 });
    const source = await rig.consume([t("a", 30), t("a", 5), t("b", 31), t("a", 0)]);
    expect(rig.began).toEqual([]);
    source.end();
    await rig.consuming;
    await rig.clock.settle();
    expect(sessions(rig).filter((line) => line.includes("a"))).toEqual([
      "a0",
      "a5",
      "ended a idle",
      "a30",
      "ended a sourceEnded",
    ]);
    expect(rig.ends).toEqual({ idle: 1, sourceEnded: 2 });
    expect(rig.router.statistics()).toMatchObject({ live: 0, held: { messages: 0 } });
    if (style === "loop") expect(rig.loops).not.toContain("a cancelled");
  },
);

test.for(styles)(
  "SessionRouter ends a session with its end message, and starts the next with what follows in time (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 100, latenessMs: 10 });
    const source = await rig.consume([t("a", 3), t("a", 2, { end: true }), t("a", 1)]);
    source.end();
    await rig.consuming;
    await rig.clock.settle();
    expect(sessions(rig)).toEqual(["a1", "a2", "ended a ended", "a3", "ended a sourceEnded"]);
  },
);

test.for(styles)(
  "SessionRouter measures what joins a session from its own first message, not from one before its end (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 60 });
    await rig.consume([t("a", 0), t("a", 50, { end: true }), t("a", 100), t("a", 30), t("a", 41)]);
    expect(rig.done).toEqual(["a0", "a50", "a100", "a41"]);
    expect(rig.fates).toContain("a30 dead late");
  },
);

test.for(styles)(
  "SessionRouter takes a slow handler for nothing that could change the sessions (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, idleMs: 10 });
    await rig.consume([t("a", 0, { work: 1_000 }), t("a", 50), t("b", 100)]);
    expect(rig.began).toEqual(["a0", "b100"]);
    await rig.clock.advance(1_000);
    expect(sessions(rig)).toEqual(["a0", "b100", "ended a idle", "a50", "ended a idle"]);
  },
);

test.for(styles)("SessionRouter has a watermark for each partition (%s)", async (style) => {
  const rig = new Rig(style, { ...timed, latenessMs: 10 });
  await rig.consume([t("a", 1_000), t("b", 5), t("a", 1_010), t("b", 14)], {
    partitions: (message) => message.key,
  });
  expect(rig.done).toEqual(["a1000"]);
  await rig.push(t("b", 15));
  expect(rig.done).toEqual(["a1000", "b5"]);
  expect(rig.router.statistics()).toMatchObject({ late: 0 });
});

test.for(styles)(
  "SessionRouter gives back what is held of a partition that moves, in the order in which it came (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, latenessMs: 1_000 });
    const source = await rig.consume([t("a", 20), t("a", 10), t("b", 5)], {
      partitions: (message) => message.key,
    });
    await source.revoke("a");
    expect(rig.fates).toEqual(["a20 release", "a10 release"]);
    expect(rig.router.statistics()).toMatchObject({ held: { messages: 1 }, queued: 1 });
    source.redeliver();
    source.end();
    await rig.clock.settle();
    await rig.consuming;
    expect(rig.done).toEqual(["b5", "a10", "a20"]);
    expect(source.errors).toEqual([]);
  },
);

test.for(styles)(
  "SessionRouter hands over in order what it holds when it drains (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, latenessMs: 1_000, idleMs: 10 });
    await rig.send(t("a", 20), t("a", 10), t("a", 5));
    expect(rig.began).toEqual([]);
    const report = await rig.drain();
    expect(sessions(rig)).toEqual(["a5", "a10", "ended a idle", "a20", "stopped a drained"]);
    expect(report).toMatchObject({ deadLettered: 0, pending: 0 });
  },
);

test.for(styles)(
  "SessionRouter moves the watermark on when lateness alone fills it: counted, and warned of once (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, latenessMs: 1_000_000, maxHeld: 3 });
    const source = memorySource([t("a", 3), t("a", 1), t("a", 2), t("a", 4), t("a", 5)], {
      keepOpen: true,
    });
    void rig.router.consume(source);
    await rig.clock.settle();
    expect(rig.done.slice(0, 3)).toEqual(["a1", "a2", "a3"]);
    expect(rig.router.statistics().forced.watermarks).toBeGreaterThan(0);
    expect(rig.problems).toEqual([
      "Messages held for lateness fill the router (maxHeld 3): the watermark was moved on",
    ]);
  },
);

test.for(styles)(
  "SessionRouter makes senders wait for the room that lateness takes, and lets them in when it moves on (%s)",
  async (style) => {
    const rig = new Rig(style, { ...timed, latenessMs: 1_000, maxHeld: 2 });
    await rig.send(t("a", 1), t("a", 2), t("a", 3), t("a", 4));
    await rig.clock.settle();
    expect(rig.done.slice(0, 2)).toEqual(["a1", "a2"]);
    expect(rig.router.statistics().held.messages).toBeLessThanOrEqual(2);
    await rig.drain();
    expect(rig.done).toEqual(["a1", "a2", "a3", "a4"]);
  },
);

test.for(styles)("SessionRouter takes a time that is none for invalid (%s)", async (style) => {
  const rig = new Rig(style, timed);
  await rig.consume([
    t("a", NaN),
    t("a", Infinity),
    m("a1", { time: "5" as unknown as number }),
    t("a", 1),
  ]);
  expect(rig.fates.map((fate) => fate.split(" ").slice(1).join(" "))).toEqual([
    "dead invalid",
    "dead invalid",
    "dead invalid",
    "done",
  ]);
  await expect(rig.router.send(t("a", NaN))).rejects.toThrow(
    "its time must be a finite number of milliseconds, and it is NaN",
  );
});

test.for(styles)(
  "SessionRouter measures a session's own idleMs in event time too (%s)",
  async (style) => {
    const rig = new Rig(style, {
      ...timed,
      idleMs: 10,
      work(message, session) {
        if (message.key === "a") session.idleMs = 100;
      },
    });
    await rig.consume([t("a", 0), t("b", 0)]);
    await rig.push(t("c", 50));
    expect(rig.told).toEqual(["ended b idle"]);
    await rig.push(t("a", 60));
    expect(rig.told).toEqual(["ended b idle", "ended c idle"]);
    await rig.push(t("c", 159));
    expect(rig.told).toHaveLength(2);
    await rig.push(t("c", 160));
    expect(rig.told).toEqual(["ended b idle", "ended c idle", "ended a idle"]);
  },
);

test.for(styles)(
  "SessionRouter gives the sorted input's result for shuffled messages (%s)",
  async (style) => {
    const messages = Array.from({ length: 60 }, (_, n) => t("abc"[n % 3] as string, n * 7));
    const shuffled = messages
      .map((message, at) => ({ message, place: at + ((at * 31) % 5) }))
      .toSorted((one, other) => one.place - other.place)
      .map(({ message }) => message);
    const results: string[][] = [];
    for (const input of [messages, shuffled]) {
      const rig = new Rig(style, { ...timed, idleMs: 25, latenessMs: 100 });
      await rig.router.consume(input);
      await rig.clock.settle();
      results.push(
        ["a", "b", "c"].flatMap((key) =>
          sessions(rig).filter((line) => line.startsWith(key) || line.includes(` ${key} `)),
        ),
      );
      expect(rig.router.statistics()).toMatchObject({ late: 0, live: 0, handled: 60 });
    }
    expect(results[1]).toEqual(results[0]);
  },
);
