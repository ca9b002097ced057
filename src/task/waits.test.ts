// Spec 93 to 148: gather, wait, asCompleted, shield and waitFor.
import { expect, test } from "vitest";
import { runVirtual } from "../testing/virtual-clock.ts";
import { asCompleted } from "./as-completed.ts";
import { cancellable } from "./cancellable.ts";
import { CancelledError, TimeoutError } from "./errors.ts";
import { gather } from "./gather.ts";
import { allTasks } from "./live.ts";
import { shield } from "./shield.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask, type Task } from "./task.ts";
import { runChild } from "./test-support/child.ts";
import { endOf, errorOf, settle } from "./test-support/settle.ts";
import { cancelWait, waitBehind } from "./wait.ts";
import { waitFor } from "./wait-for.ts";
import { wait } from "./wait-tasks.ts";

const boom = new Error("boom");

/** A task that ends with `error` after `ms`. */
function failing(ms: number, error: unknown = boom): Task<never> {
  return createTask(async () => {
    await sleep(ms);
    throw error;
  });
}

/** A task that takes `ms` to clean up. */
function slowToStop(ms: number): Task<never> {
  return createTask(async () => {
    try {
      return await sleepForever();
    } finally {
      await sleep(ms);
    }
  });
}

test("93. gather of nothing gives an empty list", async () => {
  expect(await gather([])).toEqual([]);
});

test("94. results come in the order of the items whatever the finishing order", async () => {
  await runVirtual(async () => {
    const results = await gather([
      () => sleep(3, "a"),
      sleep(1, "b"),
      createTask(() => sleep(2, "c")),
    ]);
    expect(results).toEqual(["a", "b", "c"]);
    expect(now()).toBe(3);
    expect(await gather(new Set([async () => 1, async () => 2]))).toEqual([1, 2]);
  });
});

test("95. a task or promise listed twice is waited for once and appears twice; a function runs each time", async () => {
  await runVirtual(async () => {
    const task = createTask(() => sleep(1, {}));
    const promise = sleep(2, {});
    const before = allTasks().length;
    const gathering = gather([task, promise, task, promise]);
    expect(allTasks().length).toBe(before + 1);
    const [a, b, c, d] = await gathering;
    expect([a === c, b === d]).toEqual([true, true]);
    let calls = 0;
    const work = async (): Promise<number> => ++calls;
    expect(await gather([work, work])).toEqual([1, 2]);
  });
});

test("96. the first error ends the gather at once; the other items go on", async () => {
  await runVirtual(async () => {
    const other = createTask(() => sleep(10, "went on"));
    expect(await errorOf(gather([other, failing(3)]))).toBe(boom);
    expect([now(), other.done(), other.cancelling()]).toEqual([3, false, 0]);
    expect(await other).toBe("went on");
  });
});

test("97. errors of items that fail later are read: no noise", async () => {
  const { status, stderr, stdout } = await runChild(`
    import { gather, sleep } from "heddle";
    const failing = (ms) => async () => { await sleep(ms); throw new Error("boom " + ms); };
    try { await gather([failing(1), failing(5), Promise.reject(new Error("promise"))]); }
    catch (error) { console.log(error.message); }
    await sleep(20);
  `);
  expect([status, stderr, stdout]).toEqual([0, "", "promise\n"]);
});

test("98. returnExceptions puts errors in their places and waits for all", async () => {
  await runVirtual(async () => {
    const results = await gather([failing(1), () => sleep(5, "b"), failing(3)], {
      returnExceptions: true,
    });
    expect(results).toEqual([boom, "b", boom]);
    expect(now()).toBe(5);
  });
});

test("99. a cancelled item makes the gather fail with the CancelledError; nobody cancelled the gatherer", async () => {
  await runVirtual(async () => {
    const item = createTask(() => sleepForever());
    const gatherer = createTask(async (own) => {
      const error = await errorOf(gather([item, () => sleep(10)]));
      expect(error).toBeInstanceOf(CancelledError);
      return own.cancelling();
    });
    await sleep(1);
    item.cancel();
    expect(await gatherer).toBe(0);
  });
});

test("100. with returnExceptions the cancelled item appears as a CancelledError", async () => {
  await runVirtual(async () => {
    const item = createTask(() => sleepForever());
    const gathering = gather([item, () => sleep(5, "b")], { returnExceptions: true });
    await sleep(1);
    item.cancel("alone");
    const [first, second] = await gathering;
    expect((first as CancelledError).reason).toBe("alone");
    expect(second).toBe("b");
  });
});

test("101. cancelling the gather cancels every unfinished item, and it ends only after they have", async () => {
  await runVirtual(async () => {
    const done = createTask(async () => 1);
    const slow = [slowToStop(5), slowToStop(10)];
    const gatherer = createTask(() => gather([done, ...slow]));
    await sleep(1);
    gatherer.cancel("all of it");
    await sleep(1);
    expect(slow.map((task) => task.cancelling())).toEqual([1, 1]);
    expect(gatherer.done()).toBe(false);
    expect(((await errorOf(gatherer)) as CancelledError).reason).toBe("all of it");
    expect(now()).toBe(11);
    expect([...slow.map((task) => task.cancelled()), gatherer.cancelled()]).toEqual([
      true,
      true,
      true,
    ]);
  });
});

test("101. an item that fails while the gather is cancelled is not lost", async () => {
  await runVirtual(async () => {
    const bad = createTask(async () => {
      await endOf(sleepForever());
      await sleep(5);
      throw boom;
    });
    const gatherer = createTask(() => gather([slowToStop(1), bad, slowToStop(10)]));
    await sleep(1);
    gatherer.cancel();
    expect(await errorOf(gatherer)).toBe(boom);
    expect(now()).toBe(11);
  });
});

test("102. a cancelled gather with returnExceptions still throws, with the reason", async () => {
  await runVirtual(async () => {
    const stubborn = async (): Promise<string> => {
      await endOf(sleepForever());
      return "in spite";
    };
    const gatherer = createTask(() => gather([stubborn], { returnExceptions: true }));
    await sleep(1);
    gatherer.cancel("reason");
    expect(((await errorOf(gatherer)) as CancelledError).reason).toBe("reason");
  });
});

test("103. it refuses a cancellation once all items are done", async () => {
  await runVirtual(async () => {
    const item = createTask(async () => "value");
    const gatherer = createTask(async () => {
      const [value] = await gather([item]);
      expect(value).toBe("value");
      await checkpoint();
    });
    item.addDoneCallback(() => gatherer.cancel());
    await errorOf(gatherer);
    expect(gatherer.cancelled()).toBe(true);
    const gathering = gather([item]);
    const behind = waitBehind(gathering);
    expect(cancelWait(behind as never, new CancelledError())).toBe(false);
    expect(await gathering).toEqual(["value"]);
  });
});

test("104. cancelling a gather that already failed does not touch the survivors", async () => {
  await runVirtual(async () => {
    const survivor = createTask(() => sleep(10, "survived"));
    const gatherer = createTask(async () => {
      await errorOf(gather([failing(1), survivor]));
      await sleepForever();
    });
    await sleep(2);
    gatherer.cancel();
    await errorOf(gatherer);
    expect(await survivor).toBe("survived");
  });
});

test("105. a bad item is a TypeError and nothing has been started", async () => {
  const before = allTasks().length;
  let called = false;
  const work = async (): Promise<void> => {
    called = true;
  };
  for (const bad of [[work, 5], 5, null, undefined, work, createTask(async () => 1)]) {
    await expect(gather(bad as never)).rejects.toThrow(TypeError);
  }
  await settle();
  expect([called, allTasks().length]).toEqual([false, before]);
});

test("106. a gatherer prints that it waits on a gather, and knows on which tasks", async () => {
  const item = createTask(() => sleepForever());
  const gatherer = createTask(() => gather([item]), { name: "gatherer" });
  await settle();
  expect(String(gatherer)).toBe("<Task pending name='gatherer' waiting on gather>");
  const behind = gatherer.lastWait;
  expect([...(behind?.kind.awaited?.(behind) ?? [])]).toEqual([item]);
  gatherer.cancel();
  await errorOf(gatherer);
});

test("107. a gather of what has already ended gives its results without a wait", async () => {
  const items = [1, 2].map((n) => createTask(() => n, { eager: true }));
  const gathering = gather(items);
  expect(waitBehind(gathering)?.open).toBe(false);
  expect(await gathering).toEqual([1, 2]);
  const failed = createTask(
    () => {
      throw boom;
    },
    { eager: true },
  );
  expect(await errorOf(gather([...items, failed]))).toBe(boom);
});

test("72. an outstanding cancellation goes to the items of a gather at once", async () => {
  const item = createTask(() => sleepForever());
  let called = false;
  const gatherer = createTask(async (own) => {
    own.cancel("first");
    await gather([
      item,
      async () => {
        called = true;
      },
    ]);
  });
  expect(((await errorOf(gatherer)) as CancelledError).reason).toBe("first");
  expect([item.cancelled(), gatherer.cancelled(), called]).toEqual([true, true, false]);
});

test("a gather whose items wait for the gatherer ends when it is cancelled", async () => {
  const gatherer: Task<unknown> = createTask(() => gather([() => gatherer]));
  await settle();
  gatherer.cancel();
  await settle();
  expect([gatherer.cancelled(), gatherer.cancelling()]).toEqual([true, 1]);
});

test("gathers that wait for each other end when one of them is cancelled", async () => {
  const ring: Task<unknown>[] = [0, 1].map((n) =>
    createTask(async () => gather([ring[1 - n] as Task<unknown>])),
  );
  await settle();
  ring[0]?.cancel();
  await settle();
  expect(ring.map((task) => task.cancelled())).toEqual([true, true]);
  expect(ring.map((task) => task.cancelling())).toEqual([1, 1]);
});

test("72. an outstanding cancellation comes before the error of an item that has failed already", async () => {
  const failed = createTask(() => Promise.reject(boom));
  await errorOf(failed);
  const gatherer = createTask(async (own) => {
    own.cancel("first");
    await gather([failed]);
  });
  expect(((await errorOf(gatherer)) as CancelledError).reason).toBe("first");
});

test("gather with a signal cancels the items, waits for them and throws the reason", async () => {
  await runVirtual(async () => {
    const controller = new AbortController();
    const item = slowToStop(5);
    const gathering = errorOf(gather([item], { signal: controller.signal }));
    await sleep(1);
    controller.abort(boom);
    expect(await gathering).toBe(boom);
    expect([now(), item.cancelled(), currentTask()?.cancelling()]).toEqual([6, true, 0]);
    expect(await errorOf(gather([], { signal: controller.signal }))).toBe(boom);
  });
});

test("108. wait refuses an empty list, a single task and what are no tasks", async () => {
  const task = createTask(async () => 1);
  await expect(wait([])).rejects.toThrow(RangeError);
  for (const bad of [task, null, 5, [async () => 1], [Promise.resolve()]]) {
    await expect(wait(bad as never)).rejects.toThrow(TypeError);
  }
  await expect(wait([async () => 1] as never)).rejects.toThrow("createTask");
});

test("109. an unknown returnWhen is a RangeError that names what there is", async () => {
  const task = createTask(async () => 1);
  await expect(wait([task], { returnWhen: "last" as never })).rejects.toThrow(RangeError);
  await expect(wait([task], { returnWhen: "last" as never })).rejects.toThrow(/"firstError"/);
  await expect(wait([task], { timeoutMs: NaN })).rejects.toThrow(RangeError);
});

test("110. with `first` it returns when one is done and leaves the rest running", async () => {
  await runVirtual(async () => {
    const [quick, slow] = [createTask(() => sleep(1)), createTask(() => sleep(10))];
    const { done, pending } = await wait([slow, quick], { returnWhen: "first" });
    expect([[...done], [...pending], now()]).toEqual([[quick], [slow], 1]);
    expect(slow.cancelling()).toBe(0);
  });
});

test("111. what is done is counted on resumption, so it may be more than the one that woke us", async () => {
  const gate = createTask(() => sleepForever());
  const tasks = [1, 2].map(() => createTask(() => gate.then(undefined, () => {})));
  const waiting = wait(tasks, { returnWhen: "first" });
  await settle();
  gate.cancel();
  expect((await waiting).done.size).toBe(2);
});

test("112. with `firstError` it returns on the first error, also one that existed already", async () => {
  await runVirtual(async () => {
    const bad = failing(3);
    const slow = createTask(() => sleep(10));
    const first = await wait([slow, bad, createTask(() => sleep(1))], { returnWhen: "firstError" });
    expect([now(), first.done.has(bad), [...first.pending]]).toEqual([3, true, [slow]]);
    const second = await wait([slow, bad], { returnWhen: "firstError" });
    expect([now(), [...second.done]]).toEqual([3, [bad]]);
  });
});

test("113. a cancelled task does not count as an error for `firstError`", async () => {
  await runVirtual(async () => {
    const cancelled = createTask(() => sleepForever());
    const slow = createTask(() => sleep(10));
    const waiting = wait([cancelled, slow], { returnWhen: "firstError" });
    await sleep(1);
    cancelled.cancel();
    expect([...(await waiting).done].length).toBe(2);
    expect(now()).toBe(10);
  });
});

test("114. errors of the tasks are never thrown by wait", async () => {
  await runVirtual(async () => {
    const bad = failing(1);
    const { done } = await wait([bad]);
    expect([...done][0]?.exception()).toBe(boom);
  });
});

test("115. on timeout nothing is thrown or cancelled", async () => {
  await runVirtual(async (clock) => {
    const [quick, slow] = [createTask(() => sleep(1)), createTask(() => sleep(10))];
    const { done, pending } = await wait([quick, slow], { timeoutMs: 5 });
    expect([[...done], [...pending], now()]).toEqual([[quick], [slow], 5]);
    expect(slow.cancelling()).toBe(0);
    const atOnce = await wait([slow], { timeoutMs: 0 });
    expect([atOnce.pending.size, now()]).toEqual([1, 5]);
    await wait([slow], { timeoutMs: 1_000 });
    expect([now(), clock.waiting]).toEqual([10, 0]);
  });
});

test("116. a task that ends with the timeout is reported as done", async () => {
  await runVirtual(async () => {
    const task = createTask(() => sleep(5));
    await checkpoint();
    const { done } = await wait([task], { timeoutMs: 5 });
    expect([...done]).toEqual([task]);
  });
});

test("117. cancelling the waiter leaves the tasks running", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(() => sleep(10, "value"));
    const waiter = createTask(() => wait([task], { timeoutMs: 500 }));
    await sleep(1);
    waiter.cancel();
    await errorOf(waiter);
    expect([waiter.cancelled(), task.cancelling(), clock.waiting]).toEqual([true, 0, 1]);
    expect(await task).toBe("value");
  });
});

test("118. duplicates collapse; iterators and generators are accepted", async () => {
  const task = createTask(async () => 1);
  function* twice(): Generator<Task<number>> {
    yield task;
    yield task;
  }
  expect([...(await wait(twice())).done]).toEqual([task]);
  expect([...(await wait(new Set([task]).values())).done]).toEqual([task]);
});

test("119. wait takes itself off every task when it ends, however it ends", async () => {
  await runVirtual(async () => {
    const forever = createTask(() => sleepForever());
    let watching = 0;
    const { watch, unwatch } = forever;
    forever.watch = (watcher) => (watching++, watch.call(forever, watcher));
    forever.unwatch = (watcher) => (watching--, unwatch.call(forever, watcher));
    for (let n = 0; n < 10; n++) {
      await wait([forever, createTask(() => sleep(1))], { returnWhen: "first" });
      await wait([forever], { timeoutMs: 1 });
      const waiter = createTask(() => wait([forever]));
      await sleep(1);
      waiter.cancel();
      await errorOf(waiter);
      const controller = new AbortController();
      const aborted = errorOf(wait([forever], { signal: controller.signal }));
      controller.abort(boom);
      expect(await aborted).toBe(boom);
    }
    expect(watching).toBe(0);
    expect(forever.removeDoneCallback(() => {})).toBe(0);
  });
});

test("120. asCompleted gives items in order of completion", async () => {
  await runVirtual(async () => {
    const items = [() => sleep(3, "c"), () => sleep(1, "a"), sleep(2, "b"), async () => "now"];
    const order: unknown[] = [];
    for await (const task of asCompleted(items)) order.push(task.result());
    expect(order).toEqual(["now", "a", "b", "c"]);
    const plain: unknown[] = [];
    for (const next of asCompleted([() => sleep(3, "c"), () => sleep(1, "a")]))
      plain.push(await next);
    expect(plain).toEqual(["a", "c"]);
    for await (const _ of asCompleted([])) expect.unreachable();
  });
});

test("121. async iteration gives the caller's own task objects", async () => {
  await runVirtual(async () => {
    const tasks = new Set([createTask(() => sleep(2)), createTask(() => sleep(1)), failing(1)]);
    for await (const task of asCompleted(tasks)) {
      expect(task.done()).toBe(true);
      expect(tasks.delete(task as Task<never>)).toBe(true);
    }
    expect(tasks.size).toBe(0);
  });
});

test("122. a timeout throws a TimeoutError in place of what is left; an unused timer is called off", async () => {
  await runVirtual(async (clock) => {
    const order: unknown[] = [];
    const slow = createTask(() => sleep(100, "slow"));
    const all = asCompleted([() => sleep(1, "a"), slow], { timeoutMs: 10 });
    const iterate = async (): Promise<void> => {
      for await (const task of all) order.push(task.result());
    };
    expect(await errorOf(iterate())).toBeInstanceOf(TimeoutError);
    expect([order, now(), slow.cancelling()]).toEqual([["a"], 10, 0]);
    for (const next of asCompleted([slow, () => sleep(1)], { timeoutMs: 20 })) await endOf(next);
    expect(now()).toBe(30);
    for await (const _ of asCompleted([() => sleep(1)], { timeoutMs: 500 }));
    expect(clock.waiting).toBe(1);
    await slow;
    expect(() => asCompleted([], { timeoutMs: NaN })).toThrow(RangeError);
  });
});

test("123. the iteration may be broken off and gone on with", async () => {
  await runVirtual(async () => {
    const all = asCompleted([1, 2, 3].map((n) => () => sleep(n, n)));
    const seen: number[] = [];
    for await (const task of all) {
      seen.push(task.result());
      break;
    }
    for await (const task of all) seen.push(task.result());
    expect(seen).toEqual([1, 2, 3]);
    expect(await all.next()).toEqual({ done: true, value: undefined });
  });
});

test("124. the n-th promise gives the n-th to end, in whatever order they are awaited", async () => {
  await runVirtual(async () => {
    const [first, second] = [...asCompleted([() => sleep(5, "b"), () => sleep(1, "a")])];
    expect(await second).toBe("b");
    expect(await first).toBe("a");
    const [bad] = [...asCompleted([failing(1)])];
    expect(await errorOf(bad as Promise<never>)).toBe(boom);
  });
});

test("125. a task that is listed twice is given once", async () => {
  const task = createTask(async () => 1);
  let count = 0;
  for await (const _ of asCompleted([task, task])) count++;
  expect(count).toBe(1);
});

test("126. a single task instead of a list is a TypeError", async () => {
  const task = createTask(async () => 1);
  expect(() => asCompleted(task as never)).toThrow(TypeError);
  expect(() => asCompleted(task as never)).toThrow("not a single task");
  await task;
});

test("117. a step of asCompleted that is cancelled skips no item", async () => {
  await runVirtual(async () => {
    const all = asCompleted([() => sleep(10, "only")]);
    const step = createTask(() => all.next());
    await sleep(1);
    step.cancel();
    await errorOf(step);
    expect((await all.next()).value?.result()).toBe("only");
  });
});

test("127. shield lets results and errors through unchanged", async () => {
  const value = {};
  expect(await shield(createTask(async () => value))).toBe(value);
  expect(await shield(async () => value)).toBe(value);
  expect(await shield(Promise.resolve(value))).toBe(value);
  expect(await errorOf(shield(() => Promise.reject(boom)))).toBe(boom);
});

test("128. cancelling the inner cancels the outer", async () => {
  const inner = createTask(() => sleepForever());
  const outer = createTask(() => shield(inner));
  await settle();
  inner.cancel();
  await errorOf(outer);
  expect(outer.cancelled()).toBe(true);
});

test("129. cancelling the outer leaves the inner running and takes the hook off it", async () => {
  await runVirtual(async () => {
    const inner = createTask(() => sleep(10, "value"));
    let hooks = 0;
    const { serve, forget } = inner;
    inner.serve = (waiting) => (hooks++, serve.call(inner, waiting));
    inner.forget = (waiting) => (hooks--, forget.call(inner, waiting));
    const outer = createTask(() => shield(inner));
    await sleep(1);
    expect(hooks).toBe(1);
    outer.cancel();
    await errorOf(outer);
    expect([outer.cancelled(), inner.cancelling(), hooks]).toEqual([true, 0, 0]);
    expect(await inner).toBe("value");
  });
});

test("130. 131. after that a success of the inner is silent, and a failure an unhandled rejection, once", async () => {
  const { stdout } = await runChild(`
    import { createTask, shield, sleep } from "heddle";
    process.on("unhandledRejection", (error) => console.log("unhandled", error.message));
    const good = createTask(() => sleep(5));
    const bad = createTask(async () => { await sleep(5); throw new Error("boom"); });
    const outers = [good, bad, bad].map((inner) => createTask(() => shield(inner)));
    await sleep(1);
    for (const outer of outers) { outer.cancel(); await outer.then(undefined, () => {}); }
    await sleep(20);
  `);
  expect(stdout).toBe("unhandled boom\n");
});

test("132. shielding something finished gives it", async () => {
  const done = createTask(async () => 1);
  await done;
  expect(await shield(done)).toBe(1);
});

test("133. shield(gather) cancelled: the gather goes on", async () => {
  await runVirtual(async () => {
    const items = [createTask(() => sleep(10, "a")), createTask(() => sleep(20, "b"))];
    const outer = createTask(() => shield(gather(items)));
    await sleep(1);
    outer.cancel();
    await errorOf(outer);
    expect(outer.cancelled()).toBe(true);
    expect(await gather(items)).toEqual(["a", "b"]);
  });
});

test("134. gather(shield…) cancelled: the shields are cancelled, what they shield is not", async () => {
  await runVirtual(async () => {
    const items = [createTask(() => sleep(10, "a")), createTask(() => sleep(20, "b"))];
    const outer = createTask(() => gather(items.map((item) => shield(item))));
    await sleep(1);
    outer.cancel();
    await errorOf(outer);
    expect(now()).toBe(1);
    expect(items.map((item) => item.cancelling())).toEqual([0, 0]);
    expect(await gather(items)).toEqual(["a", "b"]);
  });
});

test("135. what is shielded is held: it runs to its end with nobody else to hold it", async () => {
  const { stdout } = await runChild(`
    import { createTask, shield, sleep } from "heddle";
    const outer = createTask(() => shield(async () => { await sleep(30); console.log("saved"); }));
    await sleep(1);
    outer.cancel();
  `);
  expect(stdout).toBe("saved\n");
});

test("shield runs a function also when a cancellation is outstanding", async () => {
  let saved = false;
  const task = createTask(async (own) => {
    own.cancel();
    await shield(async () => {
      saved = true;
    });
  });
  await errorOf(task);
  await settle();
  expect([task.cancelled(), saved]).toEqual([true, true]);
});

test("136. a null timeout waits without limit", async () => {
  await runVirtual(async () => {
    expect(await waitFor(() => sleep(1e9, "value"), null)).toBe("value");
    expect(await waitFor(sleep(1e9, "value"), null)).toBe("value");
  });
});

test("137. zero or less with what has its value gives the value", async () => {
  const done = createTask(async () => "value");
  await done;
  for (const ms of [0, -1]) {
    expect(await waitFor(done, ms)).toBe("value");
    expect(await waitFor(Promise.resolve("value"), ms)).toBe("value");
    expect(await errorOf(waitFor(Promise.reject(boom), ms))).toBe(boom);
  }
});

test("138. zero or less with a function: TimeoutError, and it is never called", async () => {
  let called = false;
  const error = (await errorOf(
    waitFor(async () => {
      called = true;
    }, 0),
  )) as TimeoutError;
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error.cause).toBeInstanceOf(CancelledError);
  expect(called).toBe(false);
});

test("139. zero or less with a running task: cancelled, waited for, then TimeoutError", async () => {
  await runVirtual(async () => {
    const task = slowToStop(5);
    await sleep(1);
    expect(await errorOf(waitFor(task, 0))).toBeInstanceOf(TimeoutError);
    expect([task.cancelled(), now()]).toEqual([true, 6]);
    expect(await errorOf(waitFor(new Promise(() => {}), 0))).toBeInstanceOf(TimeoutError);
  });
});

test("140. 143. on timeout the inner has finished before the TimeoutError is thrown, whose cause it saw", async () => {
  await runVirtual(async () => {
    for (const make of [() => slowToStop(5), () => async () => slowToStop(5)]) {
      const began = now();
      const error = (await errorOf(waitFor(make() as Task<never>, 10))) as TimeoutError;
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error.cause).toBeInstanceOf(CancelledError);
      expect(now() - began).toBe(15);
    }
  });
});

test("141. an inner that swallows the cancellation and returns wins", async () => {
  await runVirtual(async () => {
    const stubborn = async (): Promise<string> => {
      await endOf(sleepForever());
      return "in spite";
    };
    expect(await waitFor(stubborn, 5)).toBe("in spite");
    expect(await waitFor(createTask(stubborn), 5)).toBe("in spite");
    expect(currentTask()?.cancelling()).toBe(0);
  });
});

test("142. an inner that throws something else on cancellation: that is thrown", async () => {
  await runVirtual(async () => {
    const bad = async (): Promise<void> => {
      await endOf(sleepForever());
      throw boom;
    };
    expect(await errorOf(waitFor(bad, 5))).toBe(boom);
    expect(await errorOf(waitFor(createTask(bad), 5))).toBe(boom);
  });
});

test("144. a value that arrives in the turn of the timeout is given", async () => {
  await runVirtual(async (clock) => {
    const waiting = sleep(1_000, "value");
    // The item comes at 10 and first, the deadline is due at 10 as well.
    clock.wakeAfter(10, () => waitBehind(waiting)?.resolve("value"));
    expect(await waitFor(waiting, 10)).toBe("value");
    expect(currentTask()?.cancelling()).toBe(0);
    await checkpoint();
  });
});

test("145. cancelling waitFor cancels the inner and waits for it", async () => {
  await runVirtual(async () => {
    const inner = slowToStop(5);
    const waiter = createTask(() => waitFor(inner, 1_000));
    await sleep(1);
    waiter.cancel("stop");
    expect(((await errorOf(waiter)) as CancelledError).reason).toBe("stop");
    expect([now(), inner.cancelled(), waiter.cancelled()]).toEqual([6, true, true]);
  });
});

test("146. a cancellation at the moment the inner finishes is thrown, and the value still readable", async () => {
  await runVirtual(async () => {
    const inner = createTask(() => sleep(5, "value"));
    let passed = false;
    const waiter = createTask(async () => {
      await waitFor(inner, 1_000);
      passed = true;
    });
    inner.addDoneCallback(() => waiter.cancel());
    await errorOf(waiter);
    expect([waiter.cancelled(), passed, inner.result()]).toEqual([true, false, "value"]);
  });
});

test("147. with shield the inner outlives the timeout", async () => {
  await runVirtual(async () => {
    for (const ms of [5, 0]) {
      const inner = createTask(() => sleep(20, "value"));
      expect(await errorOf(waitFor(shield(inner), ms))).toBeInstanceOf(TimeoutError);
      expect(inner.cancelling()).toBe(0);
      expect(await inner).toBe("value");
    }
  });
});

test("148. a wait of the library that timed out is off its line", async () => {
  await runVirtual(async (clock) => {
    const waiting = sleep(1_000);
    expect(await errorOf(waitFor(waiting, 5))).toBeInstanceOf(TimeoutError);
    expect(waitBehind(waiting)?.open).toBe(false);
    expect(clock.waiting).toBe(0);
    const item = createTask(() => sleepForever());
    expect(await errorOf(waitFor(gather([item]), 5))).toBeInstanceOf(TimeoutError);
    expect(item.cancelled()).toBe(true);
  });
});

test("148. one that was served in the turn of an outside cancellation keeps its item", async () => {
  await runVirtual(async () => {
    const seen: unknown[] = [];
    const task = createTask(async () => {
      const waiting = sleep(1_000, "item");
      const watched = createTask(() => sleepForever());
      const value = cancellable(waiting);
      // Served, and then asked to stop, in one step.
      waitBehind(waiting)?.resolve("item");
      currentTask()?.cancel();
      seen.push(await value);
      watched.cancel();
      await checkpoint();
      seen.push("never");
    });
    await errorOf(task);
    expect([seen, task.cancelled()]).toEqual([["item"], true]);
  });
});

test("waitFor with a signal ends with its reason once the item has stopped", async () => {
  await runVirtual(async () => {
    const controller = new AbortController();
    const inner = slowToStop(5);
    const waiting = errorOf(waitFor(inner, 1_000, { signal: controller.signal }));
    await sleep(1);
    controller.abort(boom);
    expect(await waiting).toBe(boom);
    expect([now(), inner.cancelled()]).toEqual([6, true]);
    expect(
      await waitFor(() => sleep(1, "value"), 5, { signal: new AbortController().signal }),
    ).toBe("value");
  });
});

test("waitFor works outside any task, and refuses what is no item and no time", async () => {
  expect(await waitFor(Promise.resolve(1), 1_000)).toBe(1);
  expect(await waitFor(async () => 2, 1_000)).toBe(2);
  expect(await errorOf(waitFor(new Promise(() => {}), 1))).toBeInstanceOf(TimeoutError);
  await expect(waitFor(5 as never, 5)).rejects.toThrow(TypeError);
  await expect(waitFor(Promise.resolve(), NaN)).rejects.toThrow(RangeError);
});
