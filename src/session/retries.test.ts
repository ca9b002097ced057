// A message that fails is tried again, first in line, and given up in the end.
import { expect, test } from "vitest";
import { memorySourceOf } from "../broker/memory/index.ts";
import { SessionRouter } from "./router.ts";
import { m, messageStyles, Rig, styles, type Message } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter tries a failed message again, first in line (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 3, retryDelayMs: () => 100 });
    await rig.send(m("a1", { fails: 2 }), m("a2"), m("b1"));
    expect(rig.began).toEqual(["a1", "b1"]);
    await rig.clock.advance(99);
    await rig.send(m("a3"));
    expect(rig.began).toEqual(["a1", "b1"]);
    expect(rig.router.statistics()).toMatchObject({ retried: 1, queued: 3, running: 0 });
    await rig.clock.advance(1);
    expect(rig.began).toEqual(["a1", "b1", "a1"]);
    await rig.clock.advance(100);
    expect(rig.began).toEqual(["a1", "b1", "a1", "a1", "a2", "a3"]);
    expect(rig.router.statistics()).toMatchObject({ retried: 2, handled: 4, started: 2 });
    expect(rig.told).toEqual([]);
  },
);

test.for(messageStyles)(
  "SessionRouter tries a message five times by default, then goes on with the next (%s)",
  async (style) => {
    const rig = new Rig(style, { retryDelayMs: () => 0 });
    await rig.consume([m("a1", { fails: 5 }), m("a2", { fails: 4 })]);
    await rig.clock.advance(0);
    expect(rig.fates).toEqual(["a1 dead exhausted", "a2 done"]);
    expect(rig.began.filter((name) => name === "a1")).toHaveLength(5);
    expect(rig.router.statistics()).toMatchObject({ started: 1, live: 1, retried: 8 });
  },
);

test("SessionRouter tries a message once by default in loop style, and fails the session", async () => {
  const rig = new Rig("loop");
  await rig.consume([m("a1", { fails: 1 }), m("a2")]);
  expect(rig.began).toEqual(["a1", "a2"]);
  expect(rig.told).toEqual(["ended a failed (a1 failed)"]);
});

test("SessionRouter starts a failed loop anew with the message that failed, and keeps the state", async () => {
  const rig = new Rig("loop");
  const seen: string[] = [];
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    state: () => ({ count: 0 }),
    clock: rig.clock,
    attempts: 2,
    retryDelayMs: () => 0,
    async session(session) {
      let local = 0;
      for await (const message of session) {
        seen.push(`${message.name} local ${++local} state ${++session.state.count}`);
        if (message.name === "a2" && session.delivery?.attempt === 1) throw new Error("no");
      }
    },
  });
  for (const name of ["a1", "a2", "a3"]) void router.send(m(name));
  await rig.clock.advance(0);
  expect(seen).toEqual([
    "a1 local 1 state 1",
    "a2 local 2 state 2",
    "a2 local 1 state 3",
    "a3 local 2 state 4",
  ]);
  expect(router.statistics()).toMatchObject({ started: 1, handled: 3, retried: 1 });
});

test("SessionRouter goes on in the same session after an exhausted message, where a loop is told to", async () => {
  const rig = new Rig("loop", { onExhausted: "deadLetter" });
  await rig.consume([m("a1", { fails: 1 }), m("a2")]);
  expect(rig.fates).toEqual(["a1 dead exhausted", "a2 done"]);
  expect(rig.told).toEqual([]);
  expect(rig.router.statistics()).toMatchObject({ started: 1, live: 1 });
});

test("SessionRouter counts the tries of a loop that throws before it asks for its message", async () => {
  const rig = new Rig("loop");
  let calls = 0;
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    attempts: 3,
    retryDelayMs: () => 10,
    async session() {
      calls++;
      throw new Error("too early");
    },
  });
  void router.send(m("a1"));
  await rig.clock.advance(100);
  expect(calls).toBe(3);
  expect(router.letters()).toMatchObject([{ reason: "exhausted", attempts: 3 }]);
  expect(router.statistics().ended).toMatchObject({ failed: 1 });
  expect(rig.clock.waiting).toBe(0);
});

test.for(styles)(
  "SessionRouter asks retryDelayMs with the try, the error and the message; undefined gives up (%s)",
  async (style) => {
    const asked: unknown[] = [];
    const rig = new Rig(style, {
      attempts: 10,
      onExhausted: "deadLetter",
      retryDelayMs(attempt, error, message) {
        asked.push([attempt, (error as Error).message, message.name]);
        return attempt === 2 ? undefined : 10;
      },
    });
    await rig.consume([m("a1", { fails: 10 }), m("a2")]);
    await rig.clock.advance(10);
    expect(asked).toEqual([
      [1, "a1 failed", "a1"],
      [2, "a1 failed", "a1"],
    ]);
    expect(rig.fates).toEqual(["a1 dead exhausted", "a2 done"]);
  },
);

const noPauses: readonly (readonly [string, () => number])[] = [
  ["a number that is none", () => NaN],
  ["a pause below zero", () => -1],
  [
    "an error",
    () => {
      throw new Error("cannot say");
    },
  ],
];

test.for(noPauses)(
  "SessionRouter gives a message up, and reports it, when retryDelayMs gives %s",
  async ([, retryDelayMs]) => {
    const rig = new Rig("async", { retryDelayMs });
    await rig.consume([m("a1", { fails: 1 }), m("a2")]);
    expect(rig.fates).toEqual(["a1 dead exhausted", "a2 done"]);
    expect(rig.problems).toHaveLength(1);
    expect(rig.problems[0]).toMatch(/^Cannot wait before the next try: retryDelayMs/);
  },
);

test("SessionRouter waits for ever longer, with jitter, by default", async () => {
  const rig = new Rig("async", { attempts: 20 });
  const started = rig.clock.now();
  await rig.send(m("a1", { fails: 20 }));
  const pauses: number[] = [];
  let before = started;
  while (rig.router.letters().length === 0) {
    await rig.clock.next();
    pauses.push(rig.clock.now() - before);
    before = rig.clock.now();
  }
  expect(pauses).toHaveLength(19);
  pauses.forEach((pause, at) => {
    const whole = Math.min(30_000, 100 * 2 ** at);
    expect(pause).toBeGreaterThanOrEqual(whole / 2);
    expect(pause).toBeLessThanOrEqual(whole);
  });
  expect(
    new Set(pauses.map((pause, at) => pause / Math.min(30_000, 100 * 2 ** at))).size,
  ).toBeGreaterThan(1);
});

test.for(styles)(
  "SessionRouter counts on from where the engine has counted (%s)",
  async (style) => {
    const attempts: unknown[] = [];
    const rig = new Rig(style, {
      attempts: 4,
      retryDelayMs: () => 0,
      onExhausted: "deadLetter",
      work(_message, session) {
        attempts.push([session.delivery?.attempt, session.delivery?.redelivered]);
      },
    });
    const source = memorySourceOf([{ message: m("a1", { fails: 9 }), attempt: 3 }], {
      keepOpen: true,
    });
    void rig.router.consume(source);
    await rig.clock.advance(0);
    expect(attempts).toEqual([
      [3, true],
      [4, true],
    ]);
    expect(source.outcomes).toMatchObject([{ outcome: "dead", letter: { attempts: 4 } }]);
  },
);

test.for(styles)(
  "SessionRouter writes the tries that failed into the letter, the last ten (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 12, retryDelayMs: () => 10, onExhausted: "deadLetter" });
    await rig.send(m("a1", { fails: 12 }));
    await rig.clock.advance(110);
    const [letter] = rig.router.letters();
    expect(letter).toMatchObject({ key: "a", reason: "exhausted", attempts: 12, at: 1_000_110 });
    expect(letter?.error).toEqual(new Error("a1 failed"));
    expect(letter?.history.map(({ attempt, at }) => [attempt, at - 1_000_000])).toEqual(
      Array.from({ length: 10 }, (_, n) => [n + 3, (n + 2) * 10]),
    );
  },
);

test.for(styles)(
  "SessionRouter ends a session whose end message is given up (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 1, onExhausted: "deadLetter" });
    await rig.consume([m("a1"), m("a2", { fails: 1, end: true }), m("a3")]);
    expect(rig.fates).toEqual(["a1 done", "a2 dead exhausted", "a3 done"]);
    expect(rig.told).toEqual(["ended a ended"]);
  },
);

test.for(styles)(
  "SessionRouter cancels a session in the pause before a try: the message is dead-lettered (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 3, retryDelayMs: () => 100 });
    await rig.consume([m("a1", { fails: 1 }), m("a2")]);
    expect(rig.router.cancel("a")).toBe(true);
    await rig.clock.settle();
    expect(rig.fates).toEqual(["a1 dead cancelled", "a2 done"]);
    expect(rig.told).toEqual(["stopped a cancelled"]);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)("SessionRouter fails a handler that throws undefined (%s)", async (style) => {
  const rig = new Rig(style, {
    attempts: 1,
    onExhausted: "deadLetter",
    work(message) {
      if (message.name === "a1") throw undefined;
    },
  });
  await rig.consume([m("a1"), m("a2")]);
  expect(rig.fates).toEqual(["a1 dead exhausted", "a2 done"]);
});

test.for(styles)("SessionRouter cuts the pauses short when it drains (%s)", async (style) => {
  const rig = new Rig(style, { attempts: 3, retryDelayMs: () => 3_600_000 });
  await rig.send(m("a1", { fails: 2 }), m("a2"));
  await rig.drain();
  expect(rig.clock.now()).toBe(1_000_000);
  expect(rig.began).toEqual(["a1", "a1", "a1", "a2"]);
  expect(rig.done).toEqual(["a1", "a2"]);
});

test.for(styles)(
  "SessionRouter tries again when the state could not be made (%s)",
  async (style) => {
    for (const slow of [false, true]) {
      let calls = 0;
      const rig = new Rig(style, {
        attempts: 3,
        retryDelayMs: () => 10,
        state() {
          const fails = ++calls < 3;
          if (slow) return fails ? Promise.reject(new Error("no state")) : Promise.resolve("state");
          if (fails) throw new Error("no state");
          return "state";
        },
        work(_message, session) {
          rig.log.push(`with ${String(session.state)}`);
        },
      });
      await rig.consume([m("a1")]);
      expect(rig.began).toEqual([]);
      await rig.clock.advance(10);
      await rig.push(m("a2"));
      expect(rig.began).toEqual([]);
      await rig.clock.advance(10);
      expect(calls).toBe(3);
      expect(rig.fates).toEqual(["a1 done", "a2 done"]);
      expect(rig.log).toEqual(["a1", "with state", "a2", "with state"]);
      expect(rig.router.statistics()).toMatchObject({ started: 1, held: { messages: 0 } });
    }
  },
);

test.for(styles)(
  "SessionRouter gives the first message up when the state cannot be made at all (%s)",
  async (style) => {
    for (const onExhausted of ["deadLetter", "end", "park"] as const) {
      let broken = true;
      const rig = new Rig(style, {
        attempts: 2,
        retryDelayMs: () => 10,
        onExhausted,
        state() {
          if (broken) throw new Error("no state");
        },
      });
      await rig.consume([m("a1"), m("a2")]);
      broken = true;
      await rig.clock.advance(10);
      if (onExhausted === "park") {
        expect(rig.router.statistics().parked).toBe(1);
        broken = false;
        expect(rig.router.resume("a")).toBe(true);
        await rig.clock.settle();
        expect(rig.fates).toEqual(["a1 done", "a2 done"]);
        continue;
      }
      expect(rig.fates).toEqual(["a1 dead exhausted"]);
      await rig.clock.advance(10);
      expect(rig.fates).toEqual(["a1 dead exhausted", "a2 dead exhausted"]);
      expect(rig.router.statistics()).toMatchObject({ live: 0, held: { messages: 0 } });
      expect(rig.clock.waiting).toBe(0);
    }
  },
);

test.for(styles)(
  "SessionRouter does not take a start whose state could not be made for a second start (%s)",
  async (style) => {
    let broken = true;
    const rig = new Rig(style, {
      attempts: 2,
      retryDelayMs: () => 10,
      starts: (message) => message.start === true,
      duplicateStart: "replace",
      state() {
        if (broken) throw new Error("no state");
      },
    });
    await rig.send(m("a1", { start: true }));
    broken = false;
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["a1"]);
    expect(rig.told).toEqual([]);
    expect(rig.router.statistics()).toMatchObject({ started: 1, live: 1 });
  },
);
