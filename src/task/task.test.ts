// Spec 1 to 59: how a task stands, its callbacks, how it is made, and its context.
import { AsyncLocalStorage } from "node:async_hooks";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { runVirtual } from "../testing/virtual-clock.ts";
import { cancellable } from "./cancellable.ts";
import { CancelledError, InvalidStateError } from "./errors.ts";
import { gather } from "./gather.ts";
import { allTasks } from "./live.ts";
import { Scope } from "./scope.ts";
import { shield } from "./shield.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask, makeTask, Task } from "./task.ts";
import { errorOf, settle, turn } from "./test-support/settle.ts";
import { runChild } from "./test-support/child.ts";

const boom = new Error("boom");
const fail = (): Promise<never> => Promise.reject(boom);

test("1. a fresh task is neither done nor cancelled", async () => {
  const task = createTask(async () => 1);
  expect([task.done(), task.cancelled(), task.cancelling()]).toEqual([false, false, 0]);
  await task;
});

test("2. result() and exception() before the end throw InvalidStateError", async () => {
  const task = createTask(() => checkpoint());
  expect(() => task.result()).toThrow(InvalidStateError);
  expect(() => task.exception()).toThrow(InvalidStateError);
  await task;
});

test("3. after success result() gives the value every time and exception() nothing", async () => {
  const value = {};
  const task = createTask(async () => value);
  await task;
  expect(task.result()).toBe(value);
  expect(task.result()).toBe(value);
  expect(task.exception()).toBeUndefined();
  expect([task.done(), task.cancelled()]).toEqual([true, false]);
});

test("4. after failure result() throws the stored error and exception() gives that same one", async () => {
  const task = createTask(fail);
  expect(await errorOf(task)).toBe(boom);
  expect(() => task.result()).toThrow(boom);
  expect(task.exception()).toBe(boom);
  expect([task.done(), task.cancelled()]).toEqual([true, false]);
});

test("5. after cancellation both result() and exception() throw the CancelledError", async () => {
  const task = createTask(() => sleepForever());
  await settle();
  task.cancel("enough");
  const error = await errorOf(task);
  expect(error).toBeInstanceOf(CancelledError);
  expect(() => task.result()).toThrow(error as Error);
  expect(() => task.exception()).toThrow(error as Error);
  expect(task.cancelled()).toBe(true);
});

test("6. cancel() on anything finished gives false and changes nothing", async () => {
  const good = createTask(async () => 1);
  const bad = createTask(fail);
  const gone = createTask(() => sleepForever());
  gone.cancel();
  await Promise.allSettled([good, bad, gone]);
  for (const task of [good, bad, gone] as Task<unknown>[]) {
    const before = [task.cancelling(), task.cancelled(), task.toString()];
    expect(task.cancel()).toBe(false);
    expect([task.cancelling(), task.cancelled(), task.toString()]).toEqual(before);
  }
});

test("7. a task that has ended stays as it has ended", async () => {
  const task = createTask(async () => "first");
  await task;
  task.cancel();
  await settle();
  expect(task.result()).toBe("first");
});

test("8. a timer that fires after its wait was cancelled is a no-op", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(() => sleep(10));
    await sleep(5);
    task.cancel();
    await errorOf(task);
    await sleep(10);
    expect(task.cancelled()).toBe(true);
    expect(clock.waiting).toBe(0);
  });
});

test("9. outsiders cannot set a task's result or error", () => {
  const names = Object.getOwnPropertyNames(Task.prototype);
  expect(names.filter((name) => /^set/i.test(name))).toEqual([]);
});

test("11. a wait for a promise goes one way: cancelling it leaves the promise alone, a settled one is left alone", async () => {
  let resolve!: (value: number) => void;
  const promise = new Promise<number>((done) => (resolve = done));
  const waiting = createTask(() => cancellable(promise));
  await settle();
  waiting.cancel();
  await errorOf(waiting);
  resolve(3);
  expect(await promise).toBe(3);
  expect(await createTask(() => cancellable(promise))).toBe(3);
});

test("12. awaiting a finished task gives its value again, any number of times", async () => {
  const task = createTask(async () => 7);
  expect([await task, await task, await task]).toEqual([7, 7, 7]);
});

test("13. awaiting the same failed task repeatedly does not grow its trace", async () => {
  const task = createTask(() => Promise.reject(new Error("traced")));
  const first = (await errorOf(task)) as Error;
  const stack = first.stack;
  for (let n = 0; n < 3; n++) expect(await errorOf(task)).toBe(first);
  expect(first.stack).toBe(stack);
});

test("14. an error that was handed out is kept by its task alone", async () => {
  // The task goes, and with it the error: no wait, scope or list still holds it.
  const seen = await (async () => {
    const task = createTask(() => sleepForever());
    await settle();
    task.cancel(Array.from({ length: 1_000 }));
    return new WeakRef((await errorOf(task)) as CancelledError);
  })();
  for (let n = 0; n < 20 && seen.deref() !== undefined; n++) {
    await turn();
    globalThis.gc?.();
  }
  expect(seen.deref()).toBeUndefined();
});

test("15. a task prints with its state, and a short result or error", async () => {
  const task = createTask(async () => "x".repeat(500), { name: "long" });
  expect(String(task)).toBe("<Task pending name='long'>");
  await task;
  expect(inspect(task)).toMatch(/^<Task finished result="x+… name='long'>$/);
  expect(inspect(task).length).toBeLessThan(120);
  const failed = createTask(fail, { name: "bad" });
  await errorOf(failed);
  expect(inspect(failed)).toBe(`<Task finished exception=Error("boom") name='bad' work=fail>`);
});

test("16. printing tasks that wait for each other does not recurse for ever", async () => {
  const first: Task<unknown> = createTask(() => second, { name: "first" });
  const second: Task<unknown> = createTask(() => first, { name: "second" });
  await settle();
  expect(inspect([first, second])).toContain("waiting on task 'second'");
  first.cancel();
  second.cancel();
});

test("17. done callbacks never run inside the step that ends the task", async () => {
  const seen: string[] = [];
  const task = createTask(async () => {
    seen.push("work");
  });
  task.addDoneCallback(() => seen.push("callback"));
  task.keeper = { taskEnded: () => seen.push("ended") };
  await settle();
  expect(seen).toEqual(["work", "ended", "callback"]);
});

test("18. 19. done callbacks run in the order of registration, whatever the end, with the task", async () => {
  for (const work of [async () => 1, fail, () => sleepForever()]) {
    const seen: unknown[] = [];
    const task = createTask<unknown>(work);
    for (const n of [1, 2, 3]) task.addDoneCallback((...args) => seen.push(n, ...args));
    await settle();
    if (!task.done()) task.cancel();
    await settle();
    expect(seen).toEqual([1, task, 2, task, 3, task]);
  }
});

test("20. a callback added to a finished task runs soon, not at once", async () => {
  const task = createTask(async () => 1);
  await task;
  let ran = false;
  task.addDoneCallback(() => (ran = true));
  expect(ran).toBe(false);
  await settle();
  expect(ran).toBe(true);
});

test("21. 22. 23. removing a callback takes every registration of it, says how many, and keeps the order of the others", async () => {
  const seen: string[] = [];
  const a = (): number => seen.push("a");
  const b = (): number => seen.push("b");
  const c = (): number => seen.push("c");
  const task = createTask(async () => 1);
  for (const call of [a, b, a, c]) task.addDoneCallback(call);
  expect(task.removeDoneCallback(a)).toBe(2);
  expect(task.removeDoneCallback(a)).toBe(0);
  await settle();
  expect(seen).toEqual(["b", "c"]);
  expect(task.removeDoneCallback(b)).toBe(0);
});

test("24. callbacks may be added and removed by a callback", async () => {
  const seen: string[] = [];
  const task = createTask(async () => 1);
  const late = (): number => seen.push("late");
  task.addDoneCallback(() => {
    seen.push("first");
    task.removeDoneCallback(late);
    task.addDoneCallback(() => seen.push("added"));
  });
  task.addDoneCallback(late);
  await settle();
  expect(seen).toEqual(["first", "late", "added"]);
});

test("25. a callback that throws is an uncaught exception and disturbs neither the task nor later callbacks", async () => {
  const { stdout } = await runChild(`
    import { createTask } from "heddle";
    process.on("uncaughtException", (error) => console.log("uncaught", error.message));
    const task = createTask(async () => 1);
    task.addDoneCallback(() => { throw new Error("from a callback"); });
    task.addDoneCallback(() => console.log("second"));
    console.log(await task);
  `);
  expect(stdout.trim().split("\n").toSorted()).toEqual(["1", "second", "uncaught from a callback"]);
});

test("26. a callback runs in the context in which it was registered", async () => {
  const storage = new AsyncLocalStorage<string>();
  const task = storage.run("task's", () => createTask(() => checkpoint()));
  let seen: string | undefined;
  storage.run("registrar's", () => task.addDoneCallback(() => (seen = storage.getStore())));
  await task;
  await settle();
  expect(seen).toBe("registrar's");
});

test("34. by default nothing of the function runs inside createTask", async () => {
  let ran = false;
  const task = createTask(async () => {
    ran = true;
  });
  expect(ran).toBe(false);
  await Promise.resolve();
  expect(ran).toBe(true);
  await task;
});

test("35. 36. unnamed tasks get increasing names, and a name becomes a string", async () => {
  const [first, second] = [createTask(async () => 1), createTask(async () => 2)];
  const number = (task: Task<unknown>): number => Number(/^Task-(\d+)$/.exec(task.name)?.[1]);
  expect(number(second)).toBe(number(first) + 1);
  const named = createTask(async () => 3, { name: 17 as unknown as string });
  expect(named.name).toBe("17");
  named.name = 18 as unknown as string;
  expect(named.name).toBe("18");
  await gather([first, second, named]);
});

test("37. what is no function is refused, and nothing has been started", () => {
  const before = allTasks().length;
  const promise = Promise.resolve(1) as never;
  expect(() => createTask(promise)).toThrow(TypeError);
  expect(() => createTask(promise)).toThrow("pass the function");
  expect(() => createTask(undefined as never)).toThrow(TypeError);
  expect(allTasks()).toHaveLength(before);
});

test("38. 39. an item that is a task stays that task, and any thenable is accepted", async () => {
  const task = createTask(async () => 1);
  const thenable = {
    // oxlint-disable-next-line no-thenable -- any thenable is accepted
    then: (resolve: (value: number) => void) => resolve(2),
  } as PromiseLike<number>;
  expect(await gather([task, thenable])).toEqual([1, 2]);
  expect(await shield(thenable)).toBe(2);
});

test("40. anything else is a TypeError that names what is accepted", async () => {
  await expect(gather([1 as never])).rejects.toThrow(/task, a promise or an async function/);
  await expect(shield("x" as never)).rejects.toThrow(/task, a promise or an async function/);
});

test("42. a task that awaits itself fails with a clear error", async () => {
  const task: Task<unknown> = createTask(async () => {
    await Promise.resolve();
    await task;
  });
  const error = await errorOf(task);
  expect(error).toBeInstanceOf(InvalidStateError);
  expect((error as Error).message).toContain("Cannot await a task in itself");
});

test("44. 45. a task prints what it waits for, and that it is cancelling", async () => {
  const child = createTask(() => sleepForever(), { name: "child" });
  const stubborn = createTask(
    async () => {
      await child.then(undefined, () => {});
      await new Promise(() => {});
    },
    { name: "stubborn" },
  );
  await settle();
  expect(String(stubborn)).toBe("<Task pending name='stubborn' waiting on task 'child'>");
  stubborn.cancel();
  expect(String(stubborn)).toContain("<Task cancelling name='stubborn' waiting on");
  await settle();
  expect(String(stubborn)).toBe("<Task cancelling, not interruptible here name='stubborn'>");
});

test("47. a first step that throws surfaces as the task's error, and nothing stays in allTasks", async () => {
  const task = createTask(() => {
    throw boom;
  });
  expect(await errorOf(task)).toBe(boom);
  expect(allTasks()).not.toContain(task);
  const eager = createTask(
    () => {
      throw boom;
    },
    { eager: true },
  );
  expect(allTasks()).not.toContain(eager);
  expect(eager.exception()).toBe(boom);
});

test("48. a finished task's error keeps its trace", async () => {
  const task = createTask(async function whereItFailed() {
    throw new Error("traced");
  });
  expect(((await errorOf(task)) as Error).stack).toContain("whereItFailed");
});

test("50. outside any task there is no current task", () => {
  expect(currentTask()).toBeUndefined();
});

test("51. currentTask is right before and after each wait, with tasks interleaved", async () => {
  const work = async (own: Task<unknown>): Promise<void> => {
    for (let n = 0; n < 5; n++) {
      expect(currentTask()).toBe(own);
      await (n % 2 === 0 ? checkpoint() : Promise.resolve());
    }
    expect(currentTask()).toBe(own);
  };
  await gather([createTask(work), createTask(work), createTask(work)]);
});

test("53. 54. 55. allTasks lists the unfinished tasks, oldest first", async () => {
  const before = new Set(allTasks());
  const mine = (): Task<unknown>[] => allTasks().filter((task) => !before.has(task));
  const tasks = [1, 2, 3].map(() => createTask(() => sleepForever()));
  expect(mine()).toEqual(tasks);
  tasks[1]?.cancel();
  await settle();
  expect(mine()).toEqual([tasks[0], tasks[2]]);
  for (const task of tasks) task.cancel();
  await settle();
  expect(mine()).toEqual([]);
});

test("56. 57. a task gets a copy of the context, and each keeps its own", async () => {
  const storage = new AsyncLocalStorage<number>();
  const seen = await storage.run(-1, () =>
    gather(
      Array.from({ length: 100 }, (_, n) => async () => {
        expect(storage.getStore()).toBe(-1);
        return storage.run(n, async () => {
          await checkpoint();
          await sleep(0);
          return storage.getStore();
        });
      }),
    ),
  );
  expect(seen).toEqual(Array.from({ length: 100 }, (_, n) => n));
  await storage.run(1, async () => {
    const child = createTask(async () => {
      storage.enterWith(2);
      await checkpoint();
    });
    await child;
    expect(storage.getStore()).toBe(1);
  });
});

test("58. a context can be handed on to successive tasks by AsyncLocalStorage.snapshot", async () => {
  const storage = new AsyncLocalStorage<string>();
  const enter = storage.run("shared", () => AsyncLocalStorage.snapshot());
  const tasks = [1, 2].map(() => enter(() => createTask(async () => storage.getStore())));
  expect(await gather(tasks)).toEqual(["shared", "shared"]);
});

test("59. a task runs in a scope of its own, with the clock of its maker", async () => {
  await runVirtual(async (clock) => {
    await sleep(5);
    const task = createTask(async () => now());
    expect(task.scope).toBeInstanceOf(Scope);
    expect(task.scope.clock).toBe(clock);
    expect(await task).toBe(5);
  });
});

test("265. an eager task runs at once up to its first wait, as itself, and the caller's context is restored", async () => {
  const storage = new AsyncLocalStorage<string>();
  await createTask(async (outer) => {
    const seen: unknown[] = [];
    const eager = createTask(
      async (own) => {
        storage.enterWith("eager's");
        seen.push(currentTask() === own, own.name, allTasks().includes(own as Task<unknown>));
        await checkpoint();
        seen.push("resumed", storage.getStore());
      },
      { eager: true, name: "quick" },
    );
    expect(seen).toEqual([true, "quick", true]);
    expect(currentTask()).toBe(outer);
    expect(storage.getStore()).toBeUndefined();
    await eager;
    expect(seen).toEqual([true, "quick", true, "resumed", "eager's"]);
  });
});

test("266. an eager task that finishes in its first step is returned done; one that waits can be cancelled", async () => {
  const done = createTask(() => 5, { eager: true });
  expect(done.done()).toBe(true);
  expect(done.cancel()).toBe(false);
  expect(await done).toBe(5);
  const waits = createTask(() => sleepForever(), { eager: true });
  expect(waits.cancel("by name")).toBe(true);
  expect(((await errorOf(waits)) as CancelledError).reason).toBe("by name");
  const lazy = createTask(() => 6, { eager: false });
  expect(lazy.done()).toBe(false);
  await lazy;
});

test("a task is not listed before its keeper could take it on", () => {
  const task = makeTask(async () => 1);
  expect(task.done()).toBe(false);
  task.cancel();
  expect(allTasks()).toContain(task);
  task.start(async () => 1);
  expect(task.cancelled()).toBe(true);
});
