// What a session has besides its handler: child tasks, promises that keep it
// alive, messages that it sends itself later.
import { expect, test } from "vitest";
import { CancelledError, InvalidStateError } from "../task/errors.ts";
import { allTasks } from "../task/live.ts";
import { sleep, sleepForever } from "../task/sleep.ts";
import { createTask, currentTask } from "../task/task.ts";
import { gather } from "../task/gather.ts";
import { InvalidMessageError } from "./errors.ts";
import { m, Rig, styles, type AnySession } from "./test-support/rig.ts";

const ways = {
  "session.createTask": (session: AnySession, work: () => Promise<unknown>) =>
    session.createTask(work, { name: "child" }),
  createTask: (_session: AnySession, work: () => Promise<unknown>) =>
    createTask(work, { name: "child" }),
};

for (const [way, make] of Object.entries(ways)) {
  test.for(styles)(
    `SessionRouter cancels a child made with ${way} at the end, and waits for it (%s)`,
    async (style) => {
      const rig = new Rig(style, {
        async work(message, session) {
          if (message.name !== "a1") return;
          make(session, async () => {
            rig.log.push("child");
            try {
              await sleepForever();
            } finally {
              await sleep(50);
              rig.log.push("child tidied up");
            }
          });
        },
      });
      await rig.send(m("a1"));
      await rig.send(m("a2", { end: true }), m("a3"));
      expect(rig.told).toEqual([]);
      await rig.clock.advance(49);
      expect(rig.done).toEqual(["a1", "a2"]);
      await rig.clock.advance(1);
      const order = ["child", "child tidied up", "ended a ended", "a3"];
      expect(rig.log.filter((line) => order.includes(line))).toEqual(order);
      expect(rig.router.statistics().leftovers).toBe(0);
      expect(childTasks(rig)).toEqual([]);
    },
  );

  test.for(styles)(
    `SessionRouter lets a child made with ${way} outlive the call that made it (%s)`,
    async (style) => {
      const rig = new Rig(style, {
        work(message, session) {
          if (message.name === "a1")
            make(session, () => sleep(100).then(() => rig.log.push("child")));
        },
      });
      await rig.send(m("a1"), m("a2"));
      await rig.clock.advance(100);
      expect(rig.log).toEqual(["a1", "a2", "child"]);
      expect(rig.router.statistics().live).toBe(1);
    },
  );

  test.for(styles)(
    `SessionRouter reports a failure of a child made with ${way} that nobody reads, and goes on (%s)`,
    async (style) => {
      const rig = new Rig(style, {
        work(message, session) {
          if (message.name === "a1")
            make(session, () => sleep(10).then(() => Promise.reject(new Error("child"))));
        },
      });
      await rig.send(m("a1"), m("a2"));
      await rig.clock.advance(10);
      await rig.send(m("a3"));
      expect(rig.problems).toEqual(['child of session "a" has failed: Error: child']);
      expect(rig.done).toEqual(["a1", "a2", "a3"]);
      expect(rig.told).toEqual([]);
    },
  );

  test.for(styles)(
    `SessionRouter does not report a failure of a child made with ${way} that the handler reads (%s)`,
    async (style) => {
      const rig = new Rig(style, {
        async work(_message, session) {
          const task = make(session, () => Promise.reject(new Error("child")));
          await expect(Promise.resolve(task)).rejects.toThrow("child");
        },
      });
      await rig.send(m("a1"));
      expect(rig.done).toEqual(["a1"]);
      expect(rig.problems).toEqual([]);
    },
  );
}

function childTasks(rig: Rig): string[] {
  return allTasks()
    .filter((task) => task.scope.clock === rig.clock && task.name === "child")
    .map(String);
}

test.for(styles)(
  "SessionRouter cancels the children of a session that is cancelled, evicted or drained (%s)",
  async (style) => {
    const rig = new Rig(style, {
      async work(_message, session) {
        session.createTask(async () => {
          await sleepForever().catch((error: unknown) => {
            rig.log.push(`child ${(error as Error).name}`);
            throw error;
          });
        });
      },
    });
    await rig.send(m("a1"), m("b1"));
    rig.router.cancel("a");
    await rig.clock.settle();
    expect(rig.log.slice(-2)).toEqual(["child CancelledError", "stopped a cancelled"]);
    await rig.drain();
    expect(rig.log.slice(-2)).toEqual(["child CancelledError", "stopped b drained"]);
  },
);

test.for(styles)(
  "SessionRouter gives children of children to the same session (%s)",
  async (style) => {
    const rig = new Rig(style, {
      work(_message, session) {
        session.createTask(async () => {
          createTask(() => sleepForever(), { name: "child" });
        });
      },
    });
    await rig.send(m("a1"));
    expect(childTasks(rig)).toHaveLength(1);
    rig.router.session("a")?.end();
    await rig.clock.settle();
    expect(childTasks(rig)).toEqual([]);
    expect(rig.told).toEqual(["ended a ended"]);
  },
);

test.for(styles)("SessionRouter stops children that ended makes as well (%s)", async (style) => {
  const rig = new Rig(style, {
    ended(session) {
      session.createTask(() => sleepForever(), { name: "child" });
      createTask(() => sleepForever(), { name: "child" });
    },
  });
  await rig.send(m("a1", { end: true }), m("a2"));
  expect(rig.done).toEqual(["a1", "a2"]);
  expect(childTasks(rig)).toEqual([]);
  expect(rig.router.statistics().leftovers).toBe(0);
});

test.for(styles)("SessionRouter makes no child in a session that is gone (%s)", async (style) => {
  const rig = new Rig(style);
  await rig.send(m("a1"));
  const session = rig.router.session("a");
  session?.end();
  await rig.clock.settle();
  expect(() => session?.createTask(() => sleepForever())).toThrow(InvalidStateError);
});

test.for(styles)(
  "SessionRouter reports a child that ignores its cancellation, and goes on without it (%s)",
  async (style) => {
    const rig = new Rig(style, {
      graceMs: 30,
      maxLive: 1,
      work(message, session) {
        if (message.name === "a1") {
          session.createTask(
            () => new Promise<void>((resolve) => rig.clock.wakeAfter(1_000, resolve)),
          );
        }
      },
    });
    await rig.consume([m("a1")]);
    await rig.push(m("a2", { end: true }), m("b1"), m("a3"));
    await rig.clock.advance(29);
    expect(rig.done).toEqual(["a1", "a2"]);
    await rig.clock.advance(1);
    expect(rig.problems).toHaveLength(1);
    expect(rig.problems[0]).toContain('of session "a" ignores its cancellation (ended)');
    expect(rig.done).toEqual(["a1", "a2", "b1"]);
    rig.router.session("b")?.end();
    await rig.clock.advance(970);
    expect(rig.done).toEqual(["a1", "a2", "b1", "a3"]);
    expect(rig.router.statistics().overdue).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter lets a handler wait for its own children, in groups too (%s)",
  async (style) => {
    const rig = new Rig(style, {
      async work() {
        const results = await gather([() => sleep(10, 1), () => sleep(20, 2)]);
        rig.log.push(String(results));
      },
    });
    await rig.send(m("a1"));
    await rig.clock.advance(20);
    expect(rig.log).toEqual(["a1", "1,2"]);
    expect(rig.done).toEqual(["a1"]);
  },
);

test.for(styles)(
  "SessionRouter sends a message to the session after a time, unless it is called off (%s)",
  async (style) => {
    const rig = new Rig(style, {
      starts: (message) => message.start === true,
      work(message, session) {
        if (message.name !== "a1") return;
        session.sendAfter(100, m("a2"));
        session.sendAfter(50, m("a3"))();
        session.sendAfter(0, m("a4"));
      },
    });
    await rig.send(m("a1", { start: true }));
    expect(rig.done).toEqual(["a1"]);
    await rig.clock.advance(0);
    expect(rig.done).toEqual(["a1", "a4"]);
    await rig.clock.advance(99);
    expect(rig.done).toEqual(["a1", "a4"]);
    await rig.clock.advance(1);
    expect(rig.done).toEqual(["a1", "a4", "a2"]);
    expect(rig.clock.waiting).toBe(0);
    expect(rig.router.statistics()).toMatchObject({ handled: 3, held: { messages: 0 } });
  },
);

test.for(styles)(
  "SessionRouter calls what is to be sent later off with the end of the session (%s)",
  async (style) => {
    const rig = new Rig(style, {
      idleMs: 50,
      work: (message, session) => void session.sendAfter(100, m(`${message.key}2`)),
    });
    await rig.send(m("a1"), m("b1", { end: true }));
    expect(rig.clock.waiting).toBe(2);
    await rig.clock.advance(50);
    expect(rig.clock.waiting).toBe(0);
    await rig.clock.advance(1_000);
    expect(rig.done).toEqual(["a1", "b1"]);
  },
);

test.for(styles)(
  "SessionRouter accepts what it sent itself beyond a full inbox and in a drain (%s)",
  async (style) => {
    const rig = new Rig(style, {
      inboxSize: 1,
      work(message, session) {
        if (message.name === "a1") session.sendAfter(5, m("a9"));
      },
    });
    await rig.send(m("a1", { work: 10 }));
    await rig.send(m("a2"));
    const draining = rig.router.drain();
    await rig.clock.advance(10);
    await draining;
    expect(rig.done).toEqual(["a1", "a2", "a9"]);
  },
);

test.for(styles)(
  "SessionRouter refuses to send later what is not the session's, or to a session that has ended (%s)",
  async (style) => {
    const rig = new Rig(style);
    await rig.send(m("a1"));
    const session = rig.router.session("a") as AnySession;
    for (const ms of [-1, NaN, "5" as unknown as number]) {
      expect(() => session.sendAfter(ms, m("a2"))).toThrow(RangeError);
    }
    expect(() => session.sendAfter(5, m("b2"))).toThrow(InvalidMessageError);
    session.end();
    await rig.clock.settle();
    expect(() => session.sendAfter(5, m("a2"))).toThrow(InvalidStateError);
    expect(rig.clock.waiting).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter gives the handler its task and its signal; in message style they are the call's (%s)",
  async (style) => {
    const seen: unknown[] = [];
    const signals = new Set<AbortSignal>();
    const rig = new Rig(style, {
      work(_message, session) {
        signals.add(session.signal);
        seen.push(session.task !== undefined && session.task === currentTask());
      },
    });
    await rig.send(m("a1", { work: 1 }), m("a2", { work: 1 }));
    await rig.clock.advance(2);
    expect(seen).toEqual([true, true]);
    expect(signals.size).toBe(style === "loop" ? 1 : 2);
    expect(rig.router.session("a")?.task === undefined).toBe(style !== "loop");
    expect([...signals].map(({ aborted }) => aborted)).not.toContain(true);
  },
);

test.for(styles)(
  "SessionRouter aborts the signal when the handler is cancelled, with the CancelledError (%s)",
  async (style) => {
    let signal: AbortSignal | undefined;
    const rig = new Rig(style, {
      work(_message, session) {
        signal = session.signal;
      },
    });
    await rig.send(m("a1", { work: 100 }));
    expect(signal?.aborted).toBe(false);
    rig.router.cancel("a", "enough");
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toBeInstanceOf(CancelledError);
    expect(signal?.reason).toMatchObject({ reason: "enough" });
    await rig.clock.settle();
  },
);

test.for(styles)(
  "SessionRouter gives each handler its own context: what one sets is not seen by another (%s)",
  async (style) => {
    const tasks = new Map<string, unknown>();
    const rig = new Rig(style, {
      async work(message) {
        await sleep(10);
        tasks.set(message.name, currentTask());
      },
    });
    await rig.send(m("a1"), m("b1"));
    await rig.clock.advance(10);
    expect(new Set(tasks.values()).size).toBe(2);
  },
);
