// Handlers and options that do odd things: throw what cannot be shown, call back
// into the router where it asks them something.
import { expect, test } from "vitest";
import { NotHandledError } from "./errors.ts";
import { SessionRouter } from "./router.ts";

interface Message {
  readonly k: string;
  readonly bad?: boolean;
}

const key = (message: Message): string => message.k;

test("SessionRouter goes on when retryDelayMs cancels the session that it is asked about", async () => {
  let asked = 0;
  const router: SessionRouter<Message> = new SessionRouter({
    key,
    attempts: 3,
    maxRunning: 1,
    retryDelayMs() {
      if (asked++ === 0) router.cancel("a");
      return 0;
    },
    async message(message: Message) {
      await Promise.resolve();
      if (message.bad === true) throw new Error("bad");
    },
  });
  await router.send({ k: "a", bad: true });
  await router.send({ k: "a" });
  await router.send({ k: "b" });
  await router.join();
  expect(router.statistics()).toMatchObject({ running: 0, handled: 2, deadLettered: 1 });
  expect((await router.drain()).pending).toBe(0);
});

test("SessionRouter loses nothing when interrupts cancels the session that it is asked about", async () => {
  let asked = 0;
  const router: SessionRouter<Message> = new SessionRouter({
    key,
    attempts: 1,
    interrupts() {
      if (asked++ < 2) router.cancel("a");
      return true;
    },
    message: () => Promise.resolve(),
  });
  for (let n = 0; n < 4; n++) void router.send({ k: "a" });
  await router.drain();
  const { held, handled, deadLettered, interrupted } = router.statistics();
  expect(held.messages).toBe(0);
  expect(handled + deadLettered + interrupted).toBe(4);
});

test.each([
  ["what has no text", () => Object.create(null) as object],
  [
    "what throws when it is looked at",
    () => {
      const { proxy, revoke } = Proxy.revocable({}, {});
      revoke();
      return proxy;
    },
  ],
])("SessionRouter frees the key when its handler throws %s", async (_, make) => {
  const loop = new SessionRouter({
    key,
    async session(session) {
      for await (const message of session) if (message.bad === true) throw make();
    },
  });
  const calls = new SessionRouter({
    key,
    attempts: 1,
    message(message: Message) {
      if (message.bad === true) throw make();
      return "handled";
    },
  });
  for (const router of [loop, calls]) {
    await router.send({ k: "a", bad: true });
    await router.send({ k: "a" });
    await router.join();
    expect(router.statistics()).toMatchObject({ handled: 1, deadLettered: 1 });
    expect(router.why("a")).toContain("a");
    await router.drain();
    expect(router.statistics().live).toBe(0);
  }
});

test("SessionRouter takes a promise whose own then throws for a failure", async () => {
  const odd = Promise.resolve();
  // oxlint-disable-next-line no-thenable -- that is what is odd about it
  odd.then = () => {
    throw new Error("no then");
  };
  const router = new SessionRouter({ key, attempts: 1, message: () => odd });
  await expect(router.call({ k: "a" })).rejects.toThrow("no then");
  await router.drain();
});

test("consume fails with an iterator that gives no results", async () => {
  const router = new SessionRouter({ key, message() {} });
  const odd = {
    [Symbol.asyncIterator]: () => ({ next: () => 5 }),
  } as unknown as AsyncIterable<Message>;
  await expect(router.consume(odd)).rejects.toThrow(
    "must give an object with value and done, and it gave 5",
  );
  await router.drain();
});

test("NotHandledError names the key and what became of its message", () => {
  expect(new NotHandledError("a", "late").message).toBe(
    'Cannot handle a message of key "a": it may not start a session and fits no live one',
  );
});
