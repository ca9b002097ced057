import { inspect } from "node:util";
import { expect, test } from "vitest";
import {
  BoundedSemaphore,
  CancelledError,
  checkpoint,
  createTask,
  InvalidStateError,
  Semaphore,
} from "heddle";
import { turns, watch } from "./test-support/outcomes.ts";

test("249. a number of permits below zero is an error, zero is allowed and means locked", () => {
  for (const Type of [Semaphore, BoundedSemaphore]) {
    for (const permits of [-1, 0.5, NaN, -Infinity, "2" as unknown as number]) {
      expect(() => new Type(permits)).toThrow(RangeError);
    }
    expect(new Type(0).locked()).toBe(true);
    expect(new Type().available).toBe(1);
    expect(new Type(Infinity).locked()).toBe(false);
  }
  expect(() => new Semaphore(-1)).toThrow(
    "Cannot make a semaphore: permits must be a whole number >= 0, current value is -1",
  );
});

test("250. a newcomer waits behind those who wait, also when permits have just been released", async () => {
  const semaphore = new Semaphore(1);
  const order: string[] = [];
  const held = await semaphore.acquire();
  const waiting = ["a", "b"].map((name) => semaphore.withPermit(() => order.push(name)));
  held.release();
  expect(semaphore.locked()).toBe(true);
  const newcomer = semaphore.withPermit(() => order.push("newcomer"));
  await Promise.all([...waiting, newcomer]);
  expect(order).toEqual(["a", "b", "newcomer"]);
  expect(semaphore.available).toBe(1);
});

test("251. several releases in one turn serve a waiter each", async () => {
  const semaphore = new Semaphore(0);
  const waits = [1, 2, 3].map(() => watch(semaphore.acquire()));
  semaphore.release();
  semaphore.release();
  const newcomer = watch(semaphore.acquire());
  await turns();
  expect(waits.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled", "waiting"]);
  semaphore.release();
  semaphore.release();
  semaphore.release();
  await turns();
  expect([waits[2]!.state, newcomer.state]).toEqual(["fulfilled", "fulfilled"]);
  expect(semaphore.available).toBe(1);
});

test("252. waiters that are cancelled or aborted are skipped and nobody hangs", async () => {
  const semaphore = new Semaphore(0);
  const controller = new AbortController();
  const first = createTask(() => semaphore.acquire());
  await turns();
  const second = watch(semaphore.acquire({ signal: controller.signal }));
  const third = watch(semaphore.acquire());
  first.cancel();
  controller.abort("enough");
  semaphore.release();
  await turns();
  expect(first.cancelled()).toBe(true);
  expect([second.error, third.state]).toEqual(["enough", "fulfilled"]);
  expect(semaphore.toString()).toBe("<Semaphore locked>");
});

test("253. a waiter that is cancelled after the hand-over has its permit, and gives it back on its way out", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire();
  const order: string[] = [];
  const cancelled = createTask(() =>
    semaphore.withPermit(async () => {
      order.push("first");
      await checkpoint();
      order.push("not reached");
    }),
  );
  const next = createTask(() => semaphore.withPermit(() => order.push("second")));
  await turns();
  held.release();
  cancelled.cancel();
  await next;
  expect(order).toEqual(["first", "second"]);
  expect(cancelled.cancelled()).toBe(true);
  expect(semaphore.available).toBe(1);
});

test("254. the bounded form refuses more permits than it had at first, the other one takes them", async () => {
  const bounded = new BoundedSemaphore(1);
  expect(() => bounded.release()).toThrow(InvalidStateError);
  expect(() => bounded.release()).toThrow(
    "Cannot release the semaphore: none of its permits (1) is taken",
  );
  const permit = await bounded.acquire();
  const waiting = bounded.acquire();
  permit.release();
  permit.release();
  (await waiting)[Symbol.dispose]();
  expect(bounded.available).toBe(1);
  expect(() => bounded.release()).toThrow(InvalidStateError);

  const free = new Semaphore(1);
  free.release();
  expect(free.available).toBe(2);

  const endless = new BoundedSemaphore(Infinity);
  (await endless.acquire()).release();
  expect(endless.available).toBe(Infinity);
});

test("Semaphore.withPermit gives back the permit however its work ends, and gives what the work gave", async () => {
  const semaphore = new Semaphore(2);
  const failure = new Error("no");
  expect(await semaphore.withPermit(() => semaphore.available)).toBe(1);
  await expect(
    semaphore.withPermit(() => {
      throw failure;
    }),
  ).rejects.toBe(failure);
  expect(semaphore.available).toBe(2);
});

test("Semaphore prints what is free and who waits", async () => {
  const semaphore = new BoundedSemaphore(1);
  expect(inspect(semaphore)).toBe("<BoundedSemaphore available=1>");
  await semaphore.acquire();
  const task = createTask(() => semaphore.acquire());
  await turns();
  expect(inspect(semaphore)).toBe("<BoundedSemaphore locked waiting=1>");
  expect(task.toString()).toContain("waiting on Semaphore.acquire");
  semaphore.release();
  await task;
});

test("Semaphore is a cancellation point also when a permit is free", async () => {
  const semaphore = new Semaphore(1);
  for (const take of [
    () => semaphore.acquire(),
    () => semaphore.withPermit(() => expect.unreachable()),
  ]) {
    const task = createTask(async (self) => {
      self.cancel();
      await take();
    });
    await expect(task.wait()).rejects.toThrow(CancelledError);
  }
  const signal = AbortSignal.abort("no");
  await expect(semaphore.acquire({ signal })).rejects.toBe("no");
  await expect(semaphore.withPermit(() => expect.unreachable(), { signal })).rejects.toBe("no");
  expect(semaphore.available).toBe(1);
});
