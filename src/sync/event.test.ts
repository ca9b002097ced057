import { inspect } from "node:util";
import { expect, test } from "vitest";
import { CancelledError, checkpoint, createTask, Event } from "heddle";
import { turns, watch } from "./test-support/outcomes.ts";

test("234. wait on an event that is set returns at once", async () => {
  const event = new Event();
  event.set();
  const wait = watch(event.wait());
  await Promise.resolve();
  expect(wait.state).toBe("fulfilled");
});

test("235. set lets all go on, oldest first, and who comes later does not wait", async () => {
  const event = new Event();
  const order: number[] = [];
  const waits = [1, 2, 3].map((n) => event.wait().then(() => order.push(n)));
  await turns();
  expect(order).toEqual([]);
  event.set();
  expect(event.isSet()).toBe(true);
  waits.push(event.wait().then(() => order.push(4)));
  await Promise.all(waits);
  expect(order).toEqual([1, 2, 3, 4]);
});

test("236. set and clear in one turn still let those go who waited", async () => {
  const event = new Event();
  const before = [watch(event.wait()), watch(event.wait())];
  event.set();
  event.clear();
  const after = watch(event.wait());
  await turns();
  expect(event.isSet()).toBe(false);
  expect(before.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
  expect(after.state).toBe("waiting");
});

test("237. a waiter that is cancelled or aborted leaves the line", async () => {
  const event = new Event();
  const task = createTask(() => event.wait());
  await turns();
  const controller = new AbortController();
  const aborted = watch(event.wait({ signal: controller.signal }));
  const last = watch(event.wait());
  expect(inspect(event)).toBe("<Event unset waiting=3>");
  task.cancel();
  controller.abort("enough");
  expect(inspect(event)).toBe("<Event unset waiting=1>");
  event.set();
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect([aborted.error, last.state]).toEqual(["enough", "fulfilled"]);
  expect(inspect(event)).toBe("<Event set>");
});

test("237. a waiter that is cancelled after set goes on; the cancellation meets its next wait", async () => {
  const event = new Event();
  let wentOn = false;
  const task = createTask(async () => {
    await event.wait();
    wentOn = true;
    await checkpoint();
  });
  await turns();
  event.set();
  task.cancel();
  await expect(task.wait()).rejects.toThrow(CancelledError);
  expect(wentOn).toBe(true);
});

test("Event is a cancellation point also when it is set", async () => {
  const event = new Event();
  event.set();
  const task = createTask(async (self) => {
    self.cancel();
    await event.wait();
  });
  await expect(task.wait()).rejects.toThrow(CancelledError);
  await expect(event.wait({ signal: AbortSignal.abort("no") })).rejects.toBe("no");
});
