// From a message to its session: keys, starts, the order in which messages are
// handled, and receiving by hand.
import { expect, test } from "vitest";
import { CancelledError, TimeoutError } from "../task/errors.ts";
import { createTask } from "../task/task.ts";
import { sleep } from "../task/sleep.ts";
import { timeout } from "../task/timeout.ts";
import { waitFor } from "../task/wait-for.ts";
import type { Session } from "./options.ts";
import { SessionRouter } from "./router.ts";
import { m, messageStyles, Rig, styles, type Message } from "./test-support/rig.ts";

test.for(styles)(
  "SessionRouter handles the messages of a key one at a time and in order, keys side by side (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(
      m("a1", { work: 10 }),
      m("b1", { work: 5 }),
      m("a2", { work: 10 }),
      m("b2", { work: 5 }),
    );
    expect(rig.router.statistics()).toMatchObject({ live: 2, running: 2, queued: 2 });
    await rig.clock.advance(10);
    expect(rig.log).toEqual(["a1", "b1", "b2", "a2"]);
    await rig.clock.advance(10);
    expect(rig.done).toEqual(["b1", "a1", "b2", "a2"]);
  },
);

test.for(styles)("SessionRouter calls no handler inside send or trySend (%s)", async (style) => {
  const rig = new Rig(style);
  expect(rig.router.trySend(m("a1"))).toBe(true);
  void rig.router.send(m("a2"));
  expect(rig.began).toEqual([]);
  await rig.clock.settle();
  expect(rig.began).toEqual(["a1", "a2"]);
});

test.for(styles)(
  "SessionRouter keeps the order in which messages were sent, however they were sent (%s)",
  async (style) => {
    const rig = new Rig(style, { inboxSize: 2 });
    void rig.router.send(m("a1"));
    void rig.router.call(m("a2"));
    void rig.router.send(m("a3"));
    void rig.router.call(m("a4"));
    expect(rig.router.trySend(m("a5"))).toBe(false);
    await rig.clock.settle();
    expect(rig.done).toEqual(["a1", "a2", "a3", "a4"]);
  },
);

test.for(styles)("SessionRouter takes finite numbers for keys as well (%s)", async (style) => {
  const rig = new Rig(style);
  const seen: unknown[] = [];
  const key = (message: number): number => message % 2;
  const router =
    style === "loop"
      ? new SessionRouter({
          key,
          clock: rig.clock,
          async session(session) {
            for await (const message of session) seen.push([session.key, message]);
          },
        })
      : new SessionRouter({
          key,
          clock: rig.clock,
          message: (message, session) => void seen.push([session.key, message]),
        });
  for (const message of [1, 2, 3]) void router.send(message);
  await rig.clock.settle();
  expect(seen).toHaveLength(3);
  expect(seen).toContainEqual([1, 3]);
  expect(router.session(1)?.key).toBe(1);
  expect([...router.sessions()].map((session) => session.key)).toEqual([1, 0]);
});

test.for(styles)("SessionRouter starts a session with a start message only (%s)", async (style) => {
  const rig = new Rig(style, { starts: (message) => message.start === true });
  await rig.send(m("a1"), m("a2", { start: true }), m("a3"), m("a4", { start: true }));
  expect(rig.done).toEqual(["a2", "a3", "a4"]);
  expect(rig.letters).toEqual(["a1 late"]);
  expect(rig.router.statistics()).toMatchObject({ started: 1, late: 1 });
});

test.for(styles)(
  "SessionRouter judges what waits behind an end by starts when its turn comes (%s)",
  async (style) => {
    const rig = new Rig(style, { starts: (message) => message.start === true });
    await rig.send(
      m("a1", { start: true, work: 10 }),
      m("a2", { end: true }),
      m("a3"),
      m("a4", { start: true }),
      m("a5"),
    );
    expect(rig.letters).toEqual([]);
    await rig.clock.advance(10);
    expect(rig.letters).toEqual(["a3 late"]);
    expect(rig.done).toEqual(["a1", "a2", "a4", "a5"]);
    expect(rig.router.statistics()).toMatchObject({ started: 2, ended: { ended: 1 } });
  },
);

test.for(styles)(
  "SessionRouter starts a session with a message that is start and end in one (%s)",
  async (style) => {
    const rig = new Rig(style, { starts: (message) => message.start === true });
    await rig.send(m("a1", { start: true, end: true }), m("a2", { start: true, end: true }));
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.ends).toEqual({ ended: 2 });
  },
);

test.for(styles)(
  "SessionRouter dead-letters a second start where it is told to, and goes on (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      duplicateStart: "deadLetter",
    });
    await rig.consume([m("a1", { start: true }), m("a2", { start: true }), m("a3")]);
    expect(rig.fates).toEqual(["a1 done", "a2 dead duplicateStart", "a3 done"]);
    expect(rig.router.statistics()).toMatchObject({ started: 1, deadLettered: 1, late: 0 });
  },
);

test.for(styles)(
  "SessionRouter tells of a quiet session that is replaced, and starts the next at once (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      duplicateStart: "replace",
    });
    await rig.send(m("a1", { start: true }));
    await rig.send(m("a2", { start: true }));
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.told).toEqual(["ended a replaced"]);
  },
);

test.for(styles)(
  "SessionRouter starts the next session of a key only when the old one is wholly gone (%s)",
  async (style) => {
    const rig = new Rig(style, {
      async ended() {
        await sleep(30);
        rig.log.push("gone");
      },
      work(message, session) {
        if (message.name !== "a1") return;
        session.createTask(async () => {
          await sleep(1_000).finally(() => sleep(20));
        });
      },
    });
    await rig.send(m("a1"));
    await rig.send(m("a2", { end: true }), m("a3"));
    await rig.clock.advance(49);
    expect(rig.began).toEqual(["a1", "a2"]);
    expect(rig.router.statistics()).toMatchObject({ live: 1, started: 1 });
    expect(rig.router.session("a")).toBeUndefined();
    await rig.clock.advance(1);
    expect(rig.log.filter((line) => !line.startsWith("a "))).toEqual(["a1", "a2", "gone", "a3"]);
  },
);

test.for(styles)(
  "SessionRouter reports what ended and stopped throw, and never tries them again (%s)",
  async (style) => {
    for (const slow of [false, true]) {
      const fail = (): unknown => {
        const error = new Error("broken");
        if (slow) return Promise.reject(error);
        throw error;
      };
      const rig = new Rig(style, { ended: fail, stopped: fail });
      await rig.send(m("a1", { end: true }), m("a2"));
      rig.router.cancel("a");
      await rig.clock.settle();
      expect(rig.problems).toEqual([
        'The session of key "a" is ended, and ended threw: Error: broken',
        'The session of key "a" is cancelled, and stopped threw: Error: broken',
      ]);
      expect(rig.router.statistics()).toMatchObject({ ended: { ended: 1, cancelled: 1 }, live: 0 });
    }
  },
);

test.for(styles)(
  "SessionRouter shows in ended and stopped what the session was (%s)",
  async (style) => {
    const seen: unknown[] = [];
    const rig = new Rig(style, {
      state: () => "state",
      attempts: 1,
      onExhausted: "end",
      ended: (session, reason) =>
        void seen.push([
          session.key,
          reason,
          session.endReason,
          session.state,
          session.error,
          session.delivery,
        ]),
    });
    await rig.clock.advance(5);
    await rig.send(m("a1", { end: true }), m("b1", { fails: 1 }));
    expect(seen.toSorted((one, other) => String(one).localeCompare(String(other)))).toEqual([
      ["a", "ended", "ended", "state", undefined, undefined],
      ["b", "failed", "failed", "state", new Error("b1 failed"), undefined],
    ]);
  },
);

test.for(styles)(
  "SessionRouter says what is in hand: nothing between messages, an id of its own for what was sent (%s)",
  async (style) => {
    const seen: unknown[] = [];
    const rig = new Rig(style, {
      work: (_message, session) => void seen.push(session.delivery),
    });
    await rig.send(m("a1"));
    await rig.send(m("a2"));
    const common = { partition: "", headers: {}, redelivered: false, attempt: 1 };
    expect(seen).toEqual([
      { ...common, id: "a/1", idempotencyKey: "a/1" },
      { ...common, id: "a/2", idempotencyKey: "a/2" },
    ]);
    const session = rig.router.session("a");
    expect(session?.delivery).toBeUndefined();
    expect(session).toMatchObject({
      startedAt: 1_000_000,
      resumed: false,
      endReason: undefined,
      fence: undefined,
    });
  },
);

function loop(
  rig: Rig,
  session: (session: Session<Message, string>) => Promise<unknown>,
  options: object = {},
): SessionRouter<Message, string> {
  return new SessionRouter<Message, string>({
    key: (message) => message.key,
    ends: (message) => message.end === true,
    clock: rig.clock,
    ...options,
    session: session as (session: Session<Message, string>) => Promise<void>,
  });
}

test("SessionRouter gives messages to receive, and undefined when the session is over", async () => {
  const rig = new Rig("loop");
  const seen: unknown[] = [];
  const router = loop(rig, async (session) => {
    seen.push(
      (await session.receive())?.name,
      (await session.receive())?.name,
      await session.receive(),
    );
    seen.push(await session.receive());
  });
  await router.send(m("a1"));
  await router.send(m("a2", { end: true }));
  await rig.clock.settle();
  expect(seen).toEqual(["a1", "a2", undefined, undefined]);
  expect(router.statistics()).toMatchObject({ handled: 2, ended: { ended: 1 } });
});

test("SessionRouter refuses a second receive while one waits, and serves the first", async () => {
  const rig = new Rig("loop");
  const seen: unknown[] = [];
  const router = loop(rig, async (session) => {
    await session.receive();
    const first = session.receive();
    await session.receive().catch((error: unknown) => seen.push(error));
    seen.push((await first)?.name);
  });
  await router.send(m("a1"));
  await rig.clock.settle();
  await router.send(m("a2"));
  await rig.clock.settle();
  expect(seen).toEqual([
    new TypeError('Cannot receive in session "a": another receive() is waiting'),
    "a2",
  ]);
});

test("SessionRouter refuses a receive from outside the handler's time", async () => {
  const rig = new Rig("loop");
  await rig.send(m("a1"));
  const session = rig.router.session("a");
  await expect(session?.receive()).rejects.toThrow("another receive() is waiting");
  session?.end();
  await rig.clock.settle();
  expect(await session?.receive()).toBeUndefined();
  await rig.send(m("b1"));
  const stopped = rig.router.session("b");
  rig.router.cancel("b");
  await rig.clock.settle();
  await expect(stopped?.receive()).rejects.toThrow(CancelledError);
});

test.for(messageStyles)("SessionRouter refuses receive in message style (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(m("a1"));
  await expect(rig.router.session("a")?.receive()).rejects.toThrow(
    new TypeError(
      'Cannot receive in session "a": its router calls message(message, session) instead',
    ),
  );
});

test("SessionRouter throws the CancelledError at receive again and again when a session has to stop", async () => {
  const rig = new Rig("loop");
  const seen: unknown[] = [];
  const router = loop(rig, async (session) => {
    await session.receive();
    for (let n = 0; n < 2; n++) await session.receive().catch((error: unknown) => seen.push(error));
  });
  await router.send(m("a1"));
  await rig.clock.settle();
  router.cancel("a", "enough");
  await rig.clock.settle();
  expect(seen).toHaveLength(2);
  for (const error of seen) expect(error).toBeInstanceOf(CancelledError);
  expect(seen[0]).toMatchObject({ reason: "enough" });
  expect(router.statistics().ended.cancelled).toBe(1);
});

const deadlines = {
  timeout: (session: Session<Message, string>) => timeout(10, () => session.receive()),
  waitFor: (session: Session<Message, string>) => waitFor(session.receive(), 10),
  "waitFor a function": (session: Session<Message, string>) => waitFor(() => session.receive(), 10),
};

for (const [name, receive] of Object.entries(deadlines)) {
  test(`SessionRouter loses no message when a receive is given up by ${name}`, async () => {
    const rig = new Rig("loop");
    const seen: unknown[] = [];
    const router = loop(rig, async (session) => {
      seen.push((await receive(session))?.name);
      await receive(session).catch((error: unknown) => seen.push(error));
      await sleep(10);
      for await (const message of session) seen.push(message.name);
    });
    await router.send(m("a1"));
    await rig.clock.advance(10);
    await router.send(m("a2"));
    await router.send(m("a3"));
    await rig.clock.advance(10);
    expect(seen).toEqual(["a1", expect.any(TimeoutError), "a2", "a3"]);
    expect(router.statistics()).toMatchObject({ handled: 3, queued: 0, live: 1 });
  });
}

test("SessionRouter counts a handler that has given a receive up as busy: it does not end as idle", async () => {
  const rig = new Rig("loop");
  const router = loop(
    rig,
    async (session) => {
      await session.receive();
      await timeout(10, () => session.receive()).catch(() => {});
      await sleep(1_000);
      await session.receive();
    },
    { idleMs: 50 },
  );
  await router.send(m("a1"));
  await rig.clock.advance(1_059);
  expect(router.statistics().ended.idle).toBe(0);
  await rig.clock.advance(1);
  expect(router.statistics().ended.idle).toBe(1);
});

test("SessionRouter lets two strands of a loop take turns at receiving", async () => {
  const rig = new Rig("loop");
  const seen: string[] = [];
  const router = loop(rig, async (session) => {
    const strand = async (name: string): Promise<void> => {
      const message = await session.receive();
      seen.push(`${name} ${message?.name}`);
    };
    await strand("one");
    await createTask(() => strand("two"));
    await strand("three");
  });
  for (const name of ["a1", "a2", "a3"]) await router.send(m(name));
  await rig.clock.settle();
  expect(seen).toEqual(["one a1", "two a2", "three a3"]);
  expect(router.statistics().ended.returned).toBe(1);
});

test.for(styles)(
  "SessionRouter finds sessions by key, and cancels none where there is none (%s)",
  async (style) => {
    const rig = new Rig(style);
    expect(rig.router.session("a")).toBeUndefined();
    expect(rig.router.cancel("a")).toBe(false);
    await rig.send(m("a1"));
    expect(rig.router.session("a")?.key).toBe("a");
    expect(rig.router.cancel("a")).toBe(true);
    expect(rig.router.cancel("a")).toBe(false);
    await rig.clock.settle();
    expect(rig.router.session("a")).toBeUndefined();
  },
);

test.for(styles)("SessionRouter gives frozen pictures as statistics (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(m("a1"));
  const before = rig.router.statistics();
  expect(
    Object.isFrozen(before) && Object.isFrozen(before.ended) && Object.isFrozen(before.held),
  ).toBe(true);
  await rig.send(m("a2"));
  expect(before.handled).toBe(1);
  expect(rig.router.statistics()).toEqual({
    state: "open",
    live: 1,
    running: 0,
    queued: 0,
    held: { messages: 0, keys: [] },
    oldestMs: 0,
    parked: 0,
    overdue: 0,
    handled: 2,
    started: 1,
    peakLive: 1,
    ended: {
      ended: 0,
      returned: 0,
      idle: 0,
      sourceEnded: 0,
      replaced: 0,
      failed: 0,
      cancelled: 0,
      evicted: 0,
      drained: 0,
      moved: 0,
    },
    late: 0,
    invalid: 0,
    deadLettered: 0,
    dropped: 0,
    interrupted: 0,
    retried: 0,
    leftovers: 0,
    forced: { evictions: 0, watermarks: 0 },
    source: undefined,
  });
});
