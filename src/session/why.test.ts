// `why`: plain words about a key, for each state that it can be in.
import { expect, test } from "vitest";
import { sleep } from "../task/sleep.ts";
import { m, Rig, styles } from "./test-support/rig.ts";

test.for(styles)("SessionRouter says why a key is as it is (%s)", async (style) => {
  const rig = new Rig(style, {
    maxLive: 4,
    maxRunning: 2,
    idleMs: 60_000,
    graceMs: 5,
    attempts: 2,
    retryDelayMs: () => 100,
    onExhausted: "park",
  });
  const { router } = rig;
  expect(router.why("a")).toBe(
    'Key "a" has no session, and none of the last 1,000 that ended was its.',
  );
  await rig.send(m("a1"));
  expect(router.why("a")).toBe(
    'The session of key "a" is quiet: it has nothing to do and waits for its next message. It ends as idle in 60.0 s.',
  );
  await rig.clock.advance(15_500);
  expect(router.why("a")).toContain("It ends as idle in 44.5 s.");

  await rig.consume([
    m("b1", { work: 1_000 }),
    m("b2"),
    m("c1", { deaf: 1_000 }),
    m("a2"),
    m("d1", { fails: 9 }),
    m("e1"),
  ]);
  await rig.clock.advance(250);
  expect(router.why("b")).toMatch(/^The session of key "b" is busy handling message 1, try 1/);
  expect(router.why("b")).toContain("1 message waits in its line, the oldest for 250 ms.");
  expect(router.why("a")).toContain("waits for its turn: 2 handlers run, and maxRunning is 2.");
  expect(router.why("e")).toContain(
    'Key "e" waits for a place: 4 sessions are alive, and maxLive is 4.',
  );
  rig.router.cancel("c");
  await rig.clock.advance(4);
  expect(router.why("c")).toMatch(/^The session of key "c" ends as cancelled:/);
  await rig.clock.advance(1);
  expect(router.why("c")).toContain("but its handler ignores its cancellation");
  await rig.clock.settle();
  expect(router.why("d")).toBe(
    'The session of key "d" waits before it tries a message again: try 1 failed with Error: d1 failed',
  );
  await rig.clock.advance(100);
  expect(router.why("d")).toBe(
    'The session of key "d" is parked, until resume("d"): try 2 failed with Error: d1 failed',
  );
});

test.for(styles)(
  "SessionRouter says that a session is being opened, or tidies up (%s)",
  async (style) => {
    const rig = new Rig(style, { state: () => sleep(10), ended: () => sleep(10) });
    await rig.send(m("a1", { end: true }));
    expect(rig.router.why("a")).toContain(
      'The session of key "a" is being opened: its state is not there yet.',
    );
    await rig.clock.advance(10);
    expect(rig.router.why("a")).toContain('The session of key "a" ends as ended: it tidies up.');
  },
);

test.for(styles)(
  "SessionRouter remembers how the last 1,000 sessions ended (%s)",
  async (style) => {
    const rig = new Rig(style, { attempts: 1, onExhausted: "end" });
    await rig.send(m("a1"));
    await rig.clock.advance(2_500);
    await rig.send(m("a2", { end: true }));
    await rig.clock.advance(30);
    expect(rig.router.why("a")).toBe(
      'The last session of key "a" ended as ended 30 ms ago, after 2 messages in 2.5 s.',
    );
    await rig.send(m("b1", { fails: 1 }));
    expect(rig.router.why("b")).toBe(
      'The last session of key "b" ended as failed with Error: b1 failed 0 ms ago, after 0 messages in 0 ms.',
    );
    await rig.send(m("a3"));
    expect(rig.router.why("a").split("\n")).toEqual([
      expect.stringContaining('The session of key "a" is quiet'),
      expect.stringContaining('The last session of key "a" ended as ended'),
    ]);
    for (let n = 0; n < 1_000; n++) {
      void rig.router.send({ key: `k${n}`, name: "x", end: true });
    }
    await rig.clock.settle();
    expect(rig.router.why("k0")).toContain("ended as ended");
    expect(rig.router.why("b")).toContain("none of the last 1,000 that ended was its");
  },
);

test.for(styles)("SessionRouter says who fills it (%s)", async (style) => {
  const rig = new Rig(style, { maxHeld: 3, inboxSize: 10 });
  await rig.send(m("a1", { work: 10 }), m("a2"), m("b1", { work: 10 }));
  expect(rig.router.why("b")).toContain(
    'The router is full: it holds 3 messages, and maxHeld is 3; key "a" holds most, 2.',
  );
});
