import { inspect } from "node:util";
import { expect, test } from "vitest";
import { CancelledError, checkpoint, createTask, InvalidStateError, Lock } from "heddle";
import { currentScope } from "../task/scope.ts";
import type { HeldWaitKind } from "./lock.ts";
import { turns, watch } from "./test-support/outcomes.ts";

test("226. releasing a lock that nobody holds is an error", async () => {
  const lock = new Lock();
  expect(() => lock.release()).toThrow(InvalidStateError);
  expect(() => lock.release()).toThrow("Cannot release the lock: nobody holds it");
  await lock.acquire();
  lock.release();
  expect(() => lock.release()).toThrow(InvalidStateError);
});

test("227. those who wait get it strictly in order, one for each release", async () => {
  const lock = new Lock();
  const order: number[] = [];
  await lock.acquire();
  for (const n of [1, 2, 3]) {
    createTask(async () => {
      await lock.acquire();
      order.push(n);
    });
  }
  for (const expected of [[], [1], [1, 2], [1, 2, 3]]) {
    await turns();
    expect(order).toEqual(expected);
    expect(lock.locked()).toBe(true);
    lock.release();
  }
  expect(lock.locked()).toBe(false);
});

test("228. release hands it over: it is never free between two holders, and no newcomer overtakes", async () => {
  const lock = new Lock();
  const order: string[] = [];
  const first = await lock.acquire();
  const waiting = lock.withLock(() => order.push("waited"));
  first.release();
  expect(lock.locked()).toBe(true);
  const newcomer = lock.withLock(() => order.push("came later"));
  await Promise.all([waiting, newcomer]);
  expect(order).toEqual(["waited", "came later"]);
  expect(lock.locked()).toBe(false);
});

test("229. a waiter that is cancelled or aborted leaves the line", async () => {
  const lock = new Lock();
  const guard = await lock.acquire();
  const task = createTask(() => lock.withLock(() => expect.unreachable()));
  const controller = new AbortController();
  const aborted = watch(lock.acquire({ signal: controller.signal }));
  const last = watch(lock.acquire());
  await turns();
  expect(lock.toString()).toBe("<Lock locked waiting=3>");
  task.cancel();
  controller.abort("enough");
  expect(lock.toString()).toBe("<Lock locked waiting=1>");
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect(aborted.error).toBe("enough");
  guard.release();
  await turns();
  expect(last.state).toBe("fulfilled");
});

test("230. a waiter that is cancelled before the release in the same turn is passed over", async () => {
  const lock = new Lock();
  const guard = await lock.acquire();
  const cancelled = createTask(() => lock.acquire());
  const next = createTask(() => lock.acquire());
  await turns();
  cancelled.cancel();
  guard.release();
  (await next).release();
  expect(cancelled.cancelled()).toBe(true);
  expect(lock.locked()).toBe(false);
});

test("231. a waiter that is cancelled after the hand-over holds it, and gives it back on its way out", async () => {
  const lock = new Lock();
  const guard = await lock.acquire();
  const order: string[] = [];
  const cancelled = createTask(() =>
    lock.withLock(async () => {
      order.push("first");
      await checkpoint();
      order.push("not reached");
    }),
  );
  const next = createTask(() => lock.withLock(() => order.push("second")));
  await turns();
  guard.release();
  cancelled.cancel();
  await next;
  expect(order).toEqual(["first", "second"]);
  expect(cancelled.cancelled()).toBe(true);
  expect(lock.locked()).toBe(false);
});

test("232. withLock frees the lock however its work ends, and gives what the work gave", async () => {
  const lock = new Lock();
  const failure = new Error("no");
  expect(await lock.withLock(() => lock.locked())).toBe(true);
  expect(await lock.withLock(async () => 42)).toBe(42);
  await expect(
    lock.withLock(() => {
      throw failure;
    }),
  ).rejects.toBe(failure);
  await expect(lock.withLock(() => Promise.reject(failure))).rejects.toBe(failure);
  expect(lock.locked()).toBe(false);
});

test("232. a guard releases exactly once, and disposing of it is releasing it", async () => {
  const lock = new Lock();
  const first = await lock.acquire();
  first.release();
  const second = await lock.acquire();
  first.release();
  first[Symbol.dispose]();
  expect(lock.locked()).toBe(true);
  second[Symbol.dispose]();
  expect(lock.locked()).toBe(false);
  second.release();
  expect(lock.locked()).toBe(false);
});

test("232. a guard does nothing any more when the lock was released without it", async () => {
  const lock = new Lock();
  const guard = await lock.acquire();
  const next = lock.acquire();
  lock.release();
  guard.release();
  expect(lock.locked()).toBe(true);
  (await next).release();
  expect(lock.locked()).toBe(false);
});

test("232. the lock is neither a promise nor disposable itself", async () => {
  const lock = new Lock();
  expect("then" in lock).toBe(false);
  expect(Symbol.dispose in lock).toBe(false);
});

test("233. any task may release it", async () => {
  const lock = new Lock();
  await createTask(() => lock.acquire());
  await createTask(() => lock.release());
  expect(lock.locked()).toBe(false);
});

test("233. it knows the task that took it, and a wait knows who holds what it waits for", async () => {
  const lock = new Lock();
  expect(inspect(lock)).toBe("<Lock unlocked>");
  const holder = createTask(() => lock.acquire(), { name: "writer" });
  await holder;
  expect(inspect(lock)).toBe("<Lock locked by 'writer'>");
  const task = createTask(() => lock.acquire(), { name: "reader" });
  await turns();
  const kind = task.lastWait?.kind as HeldWaitKind;
  expect(kind.name).toBe("Lock.acquire");
  expect(kind.holder(task.lastWait!)?.task).toBe(holder);
  lock.release();
  expect(inspect(lock)).toBe("<Lock locked by 'reader'>");
  lock.release();
  expect(currentScope()).toBe(undefined);
  await lock.acquire();
  expect(inspect(lock)).toBe("<Lock locked>");
});

test("Lock is a cancellation point also when it is free", async () => {
  const lock = new Lock();
  for (const take of [() => lock.acquire(), () => lock.withLock(() => expect.unreachable())]) {
    const task = createTask(async (self) => {
      self.cancel();
      await take();
    });
    await expect(task.wait()).rejects.toThrow(CancelledError);
  }
  const signal = AbortSignal.abort("no");
  await expect(lock.acquire({ signal })).rejects.toBe("no");
  await expect(lock.withLock(() => expect.unreachable(), { signal })).rejects.toBe("no");
  expect(lock.locked()).toBe(false);
});
