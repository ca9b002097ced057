// `state`, `save` and what goes on in the key's next session.
import { expect, test } from "vitest";
import { memorySource, memoryStore, type MemoryStore } from "../broker/memory/index.ts";
import type { StateStore } from "../message/source.ts";
import { sleep } from "../task/sleep.ts";
import { SessionRouter } from "./router.ts";
import { m, Rig, styles, type AnySession, type Message } from "./test-support/rig.ts";

interface Count {
  count: number;
}

test.for(styles)(
  "SessionRouter makes the state before the first message of every session (%s)",
  async (style) => {
    let made = 0;
    const seen: unknown[] = [];
    const rig = new Rig(style, {
      idleMs: 10,
      state: (key, saved) => ({ key, saved, n: ++made }),
      work(message, session) {
        seen.push([message.name, session.state]);
      },
    });
    await rig.send(m("a1"), m("a2"));
    await rig.send(m("b1"));
    await rig.clock.advance(10);
    await rig.send(m("a3"));
    const first = { key: "a", saved: undefined, n: 1 };
    expect(seen).toEqual([
      ["a1", first],
      ["a2", first],
      ["b1", { ...first, key: "b", n: 2 }],
      ["a3", { ...first, n: 3 }],
    ]);
  },
);

test.for(styles)(
  "SessionRouter lets the key's messages wait for a state that takes its time, and no other key (%s)",
  async (style) => {
    const rig = new Rig(style, {
      state: (key) => (key === "a" ? sleep(100, "slow") : "fast"),
      work: (message, session) => void rig.log.push(`${message.name} ${String(session.state)}`),
    });
    await rig.send(m("a1"), m("a2"), m("b1"));
    expect(rig.router.why("a")).toContain("is being opened");
    await rig.clock.advance(50);
    await rig.send(m("a3"));
    expect(rig.done).toEqual(["b1"]);
    await rig.clock.advance(50);
    expect(rig.log.filter((line) => line.includes(" "))).toEqual([
      "b1 fast",
      "a1 slow",
      "a2 slow",
      "a3 slow",
    ]);
  },
);

test.for(styles)(
  "SessionRouter cancels a session while its state is being made: its messages are the next one's (%s)",
  async (style) => {
    const rig = new Rig(style, { state: async () => sleep(100) });
    await rig.consume([m("a1"), m("a2")]);
    await rig.clock.advance(50);
    expect(rig.router.cancel("a")).toBe(true);
    await rig.clock.advance(99);
    expect(rig.began).toEqual([]);
    await rig.clock.advance(1);
    expect(rig.fates).toEqual(["a1 done", "a2 done"]);
    expect(rig.told).toEqual([]);
  },
);

const counting = {
  state: (_key: string, saved: unknown): Count => (saved as Count | undefined) ?? { count: 0 },
  async work(_message: Message, session: AnySession): Promise<void> {
    (session.state as Count).count++;
    await session.save();
  },
};

const stores: readonly (readonly [string, () => MemoryStore | undefined])[] = [
  ["in this process", () => undefined],
  ["in a store", () => memoryStore()],
];

for (const [where, makeStore] of stores) {
  test.for(styles)(
    `SessionRouter goes on from what was saved ${where}, also with a message that may not start (%s)`,
    async (style) => {
      const seen: unknown[] = [];
      const store = makeStore();
      const rig = new Rig(style, {
        ...counting,
        store,
        idleMs: 10,
        starts: (message) => message.start === true,
        async work(message, session) {
          await counting.work(message, session);
          seen.push([message.name, (session.state as Count).count, session.resumed]);
        },
      });
      await rig.send(m("a1", { start: true }), m("a2"), m("b2"));
      await rig.clock.advance(10);
      expect(rig.ends).toEqual({ idle: 1 });
      await rig.send(m("a3"), m("b3"));
      expect(seen).toEqual([
        ["a1", 1, false],
        ["a2", 2, false],
        ["a3", 3, true],
      ]);
      expect(rig.letters.toSorted()).toEqual(["b2 late", "b3 late"]);
    },
  );

  test.for(styles)(
    `SessionRouter forgets what was saved ${where} when the session is ended, returned or replaced, and then only (%s)`,
    async (style) => {
      const store = makeStore();
      const saved: unknown[] = [];
      const rig = new Rig(style, {
        ...counting,
        store,
        idleMs: 1_000,
        attempts: 1,
        onExhausted: "end",
        starts: (message) => message.start === true,
        duplicateStart: "replace",
        state: (key, before) => {
          saved.push(before === undefined ? undefined : (before as Count).count);
          return counting.state(key, before);
        },
      });
      await rig.send(m("a1", { start: true }));
      await rig.clock.advance(1_000); // idle: kept
      await rig.send(m("a2"));
      rig.router.cancel("a"); // cancelled: kept
      await rig.clock.settle();
      await rig.send(m("a3", { fails: 1 })); // failed: kept
      await rig.send(m("a4"));
      await rig.send(m("a5", { start: true })); // replaced: forgotten
      await rig.send(m("a6", { end: true })); // ended: forgotten
      await rig.send(m("a7"));
      expect(saved).toEqual([undefined, 1, 2, 3, undefined]);
      expect(rig.letters).toEqual(["a3 exhausted", "a7 late"]);
      expect(store?.states.size ?? 0).toBe(0);
    },
  );
}

test.for(styles)(
  "SessionRouter forgets a resumed session's state at its end, saved again or not (%s)",
  async (style) => {
    const store = memoryStore();
    store.save("a", { count: 5 });
    const rig = new Rig(style, {
      store,
      state: (_key, saved) => saved,
      work: (_message, session) => void rig.log.push(`resumed ${session.resumed}`),
    });
    await rig.send(m("a1"), m("a2", { end: true }));
    expect(rig.log).toContain("resumed true");
    expect(store.states.size).toBe(0);
  },
);

test.for(styles)(
  "SessionRouter gives what was saved as the state where there is no state option (%s)",
  async (style) => {
    const rig = new Rig(style, {
      idleMs: 10,
      async work(message, session) {
        rig.log.push(`${message.name} ${String(session.state)}`);
        await session.save(`saved by ${message.name}`);
      },
    });
    await rig.send(m("a1"));
    await rig.clock.advance(10);
    await rig.send(m("a2"));
    expect(rig.log.filter((line) => line.includes(" a") || line.includes(" undefined"))).toContain(
      "a2 saved by a1",
    );
  },
);

test.for(styles)(
  "SessionRouter goes on from what was saved in another process, with a fence that grows (%s)",
  async (style) => {
    const store = memoryStore();
    const fences: unknown[] = [];
    for (const name of ["a1", "a2"]) {
      const rig = new Rig(style, {
        ...counting,
        store,
        async work(message, session) {
          fences.push(session.fence);
          await counting.work(message, session);
        },
      });
      await rig.send(m(name));
      await rig.drain();
    }
    expect(store.states.get("a")).toEqual({ count: 2 });
    expect(fences).toEqual([1n, 2n]);
  },
);

test.for(styles)(
  "SessionRouter has stored a state before the delivery that it covers is settled (%s)",
  async (style) => {
    const log: string[] = [];
    const store: StateStore = {
      load: () => undefined,
      save: async () => {
        await sleep(10);
        log.push("saved");
      },
      delete() {},
    };
    const rig = new Rig(style, { ...counting, store });
    const source = memorySource([m("a1")], {
      keepOpen: true,
      settling: () => void log.push("settled"),
    });
    void rig.router.consume(source);
    await rig.clock.advance(10);
    expect(log).toEqual(["saved", "settled"]);
  },
);

test.for(styles)(
  "SessionRouter settles no delivery before a save that nobody awaited is stored (%s)",
  async (style) => {
    const log: string[] = [];
    const rig = new Rig(style, {
      store: {
        load: () => undefined,
        save: async () => {
          await sleep(10);
          log.push("saved");
        },
        delete() {},
      },
      work(_message, session) {
        void session.save("state");
      },
    });
    const source = memorySource([m("a1"), m("a2")], {
      keepOpen: true,
      settling: ({ message }) => void log.push(message.name),
    });
    void rig.router.consume(source);
    await rig.clock.advance(100);
    expect(log).toEqual(["saved", "a1", "saved", "a2"]);
  },
);

test.for(styles)(
  "SessionRouter loads for the next session only when a save that nobody awaited is stored (%s)",
  async (style) => {
    const log: string[] = [];
    const rig = new Rig(style, {
      store: {
        load: () => void log.push("load"),
        save: () =>
          new Promise<void>((resolve) => {
            rig.clock.wakeAfter(10, () => {
              log.push("saved");
              resolve();
            });
          }),
        delete: () => void log.push("delete"),
      },
      work(message, session) {
        if (message.name === "a1") void session.save("state");
      },
    });
    await rig.send(m("a1"));
    rig.router.cancel("a");
    await rig.send(m("a2"));
    await rig.clock.advance(10);
    expect(log).toEqual(["load", "saved", "load"]);
    expect(rig.done).toEqual(["a1", "a2"]);
    await rig.send(m("b1"));
  },
);

test.for(styles)(
  "SessionRouter fails the message whose save failed, when the handler waits for it (%s)",
  async (style) => {
    const rig = new Rig(style, {
      attempts: 1,
      onExhausted: "deadLetter",
      store: {
        load: () => undefined,
        save: () => Promise.reject(new Error("no disk")),
        delete() {},
      },
      work: (_message, session) => session.save("x"),
    });
    await rig.consume([m("a1")]);
    expect(rig.fates).toEqual(["a1 dead exhausted"]);
    expect(rig.source?.outcomes[0]?.letter?.error).toEqual(new Error("no disk"));
  },
);

test.for(styles)(
  "SessionRouter tries again when the store cannot load, and judges the message then (%s)",
  async (style) => {
    let loads = 0;
    const rig = new Rig(style, {
      attempts: 3,
      retryDelayMs: () => 10,
      starts: (message) => message.start === true,
      store: {
        load: () => (++loads < 2 ? Promise.reject(new Error("no disk")) : undefined),
        save() {},
        delete() {},
      },
    });
    await rig.consume([m("a1"), m("a2", { start: true })]);
    await rig.clock.advance(10);
    expect(loads).toBe(2);
    expect(rig.fates).toEqual(["a1 dead late", "a2 done"]);
    expect(rig.router.statistics()).toMatchObject({ started: 1, live: 1, held: { messages: 0 } });
  },
);

test.for(styles)(
  "SessionRouter reports a state that cannot be forgotten, and ends the session (%s)",
  async (style) => {
    const rig = new Rig(style, {
      store: {
        load: () => undefined,
        save() {},
        delete: () => Promise.reject(new Error("no disk")),
      },
      work: (_message, session) => session.save("x"),
    });
    await rig.send(m("a1", { end: true }), m("a2"));
    expect(rig.done).toEqual(["a1", "a2"]);
    expect(rig.problems).toEqual(['Cannot forget what was saved for key "a": Error: no disk']);
    expect(rig.router.statistics()).toMatchObject({ ended: { ended: 1 }, live: 1 });
  },
);

test.for(styles)(
  "SessionRouter does not keep what is late waiting as a session when a store knows nothing of its key (%s)",
  async (style) => {
    const rig = new Rig(style, {
      store: memoryStore(),
      starts: (message) => message.start === true,
    });
    await rig.send(m("a1"), m("a2"));
    expect(rig.letters).toEqual(["a1 late", "a2 late"]);
    expect(rig.router.statistics()).toMatchObject({
      live: 0,
      started: 0,
      late: 2,
      held: { messages: 0 },
    });
    expect(rig.told).toEqual([]);
  },
);

test("SessionRouter copies nothing of the state: a handler may put another one in its place", async () => {
  const rig = new Rig("async");
  const states: unknown[] = [];
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    clock: rig.clock,
    state: () => 0,
    message(_message, session) {
      states.push(session.state);
      session.state += 1;
    },
  });
  for (const name of ["a1", "a2", "a3"]) void router.send(m(name));
  await rig.clock.settle();
  expect(states).toEqual([0, 1, 2]);
});
