import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { checkpoint, now, sleep, sleepForever } from "../task/sleep.ts";
import { allTasks } from "../task/live.ts";
import { createTask } from "../task/task.ts";
import { runVirtual, VirtualClock } from "./virtual-clock.ts";

test("VirtualClock fires in order of due time, then of registration, and never early", async () => {
  const clock = new VirtualClock(1_000);
  const seen: string[] = [];
  clock.wakeAfter(20, () => seen.push(`b ${clock.now()}`));
  clock.wakeAfter(10, () => seen.push(`a ${clock.now()}`));
  clock.wakeAfter(20, () => seen.push(`c ${clock.now()}`));
  clock.wakeAfter(15, () => seen.push("called off"))();
  clock.wakeAfter(Infinity, () => seen.push("never"));
  await clock.advance(9.5);
  expect(seen).toEqual([]);
  await clock.advance(0.5);
  expect(seen).toEqual(["a 1010"]);
  await clock.advance(100);
  expect(seen).toEqual(["a 1010", "b 1020", "c 1020"]);
  expect([clock.now(), clock.waiting]).toEqual([1_110, 0]);
});

test("VirtualClock lets promises settle after every wake-up, also long chains and further sleeps", async () => {
  const seen: string[] = [];
  await runVirtual(async (clock) => {
    const loop = createTask(async () => {
      for (let n = 0; n < 3; n++) {
        await sleep(10);
        for (let hop = 0; hop < 200; hop++) await Promise.resolve();
        seen.push(`loop ${now()}`);
      }
    });
    const other = createTask(async () => {
      await sleep(25);
      seen.push(`other ${now()}`);
    });
    await loop;
    await other;
    expect(clock.waiting).toBe(0);
  });
  expect(seen).toEqual(["loop 10", "loop 20", "other 25", "loop 30"]);
});

test("VirtualClock makes moves that overlap one after the other", async () => {
  const clock = new VirtualClock();
  const seen: number[] = [];
  clock.wakeAfter(5, () => seen.push(clock.now()));
  clock.wakeAfter(15, () => seen.push(clock.now()));
  await Promise.all([clock.advance(10), clock.advance(10)]);
  expect(seen).toEqual([5, 15]);
  expect(clock.now()).toBe(20);
});

test("VirtualClock refuses what is no time", async () => {
  const clock = new VirtualClock();
  await expect(clock.advance(-1)).rejects.toThrow(RangeError);
  await expect(clock.advance(Infinity)).rejects.toThrow(RangeError);
  expect(() => new VirtualClock(NaN)).toThrow(RangeError);
  expect(() => clock.wakeAfter(NaN, () => {})).toThrow(RangeError);
});

test("VirtualClock.runToEnd gives up on what asks for ever", async () => {
  const clock = new VirtualClock();
  const again = (): void => void clock.wakeAfter(1, again);
  again();
  await expect(clock.runToEnd(50)).rejects.toThrow("50 wake-ups later 1 are waiting");
});

test("runVirtual gives what its work returned or threw", async () => {
  expect(await runVirtual(() => 42)).toBe(42);
  const error = new Error("mine");
  await expect(runVirtual(() => Promise.reject(error))).rejects.toBe(error);
});

test("runVirtual waits for checkpoints that take a turn of the event loop", async () => {
  await runVirtual(async () => {
    let turns = 0;
    const spinning = createTask(async () => {
      const until = performance.now() + 30;
      while (performance.now() < until) {
        await checkpoint();
        turns++;
      }
      return now();
    });
    await sleep(1);
    expect(await spinning).toBe(0);
    expect(turns).toBeGreaterThan(0);
  });
});

test("runVirtual waits for immediates of others before it moves on, and for a file when nothing else is left", async () => {
  await runVirtual(async () => {
    const order: string[] = [];
    const timer = createTask(async () => {
      await sleep(5);
      order.push("timer");
    });
    // oxlint-disable-next-line no-restricted-globals -- somebody else's, as a user's code has them
    for (let n = 0; n < 10; n++) await new Promise((resolve) => setImmediate(resolve));
    order.push("immediates");
    await timer;
    await readFile(new URL(import.meta.url));
    order.push("file");
    expect(order).toEqual(["immediates", "timer", "file"]);
  });
});

test("runVirtual says what is stuck, and leaves nothing behind", async () => {
  const stuck = runVirtual(async () => {
    createTask(() => sleepForever(), { name: "helper" });
    await sleep(10);
    await new Promise(() => {});
  });
  await expect(stuck).rejects.toThrow(
    /nothing is ready at 10 ms(.|\n)*'main'.*not the library's(.|\n)*'helper' .*waiting on sleepForever/,
  );
  expect(allTasks().filter((task) => task.name === "helper")).toEqual([]);
});

test("runVirtual cancels what is left, and waits while it cleans up", async () => {
  const seen: string[] = [];
  await runVirtual(async () => {
    createTask(
      async () => {
        try {
          await sleepForever();
        } finally {
          await sleep(1_000);
          seen.push(`cleaned up at ${now()}`);
        }
      },
      { name: "cleaner" },
    );
    await sleep(10);
  });
  expect(seen).toEqual(["cleaned up at 1010"]);
  expect(allTasks().filter((task) => task.name === "cleaner")).toEqual([]);
});
