// Spec 60 to 92: cancelling, taking it back, and sleeping.
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { runVirtual, VirtualClock } from "../testing/virtual-clock.ts";
import { cancellable } from "./cancellable.ts";
import { CancelledError, FatalError, InvalidStateError, TimeoutError } from "./errors.ts";
import { rethrowIfCancelled } from "./rethrow.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask, type Task } from "./task.ts";
import { runChild } from "./test-support/child.ts";
import { endOf, errorOf, settle, turn } from "./test-support/settle.ts";
import { timeout } from "./timeout.ts";

test("60. cancel() on a pending task gives true; cancelled() is false until the function has ended", async () => {
  let finish!: () => void;
  const cleanup = new Promise<void>((resolve) => (finish = resolve));
  const task = createTask(async () => {
    try {
      await sleepForever();
    } finally {
      await cleanup;
    }
  });
  await settle();
  expect(task.cancel()).toBe(true);
  await settle();
  expect([task.cancelled(), task.done()]).toEqual([false, false]);
  finish();
  await errorOf(task);
  expect([task.cancelled(), task.done()]).toEqual([true, true]);
});

test("61. a CancelledError that leaves the function ends the task cancelled; a later cancel() gives false", async () => {
  const task = createTask(() => sleepForever());
  await settle();
  task.cancel();
  await errorOf(task);
  expect(task.cancelled()).toBe(true);
  expect(task.cancel()).toBe(false);
});

test("62. cancelled before its first step the body never runs, and the task ends cancelled with the reason", async () => {
  let ran = false;
  const task = createTask(async () => {
    ran = true;
  });
  expect(task.cancel("too early")).toBe(true);
  const error = (await errorOf(task)) as CancelledError;
  expect(error.reason).toBe("too early");
  expect([ran, task.cancelled()]).toEqual([false, true]);
});

test("63. a cancellation ends the wait of the library that the task is in", async () => {
  const clock = new VirtualClock();
  const running = runVirtual(async () => {
    const task = createTask(() => sleep(1_000));
    await sleep(1);
    expect(clock.waiting).toBe(1);
    task.cancel();
    expect(clock.waiting).toBe(0);
    expect(await errorOf(task)).toBeInstanceOf(CancelledError);
  }, clock);
  await running;
});

test("64. a cancellation is passed to the awaited task; the awaiter learns of it when that one has ended", async () => {
  await runVirtual(async () => {
    const inner = createTask(async () => {
      try {
        await sleepForever();
      } finally {
        await sleep(10);
      }
    });
    const outer = createTask(async () => inner);
    await sleep(1);
    outer.cancel("pass it on");
    await sleep(5);
    expect([inner.done(), outer.done(), inner.cancelling()]).toEqual([false, false, 1]);
    const error = (await errorOf(outer)) as CancelledError;
    expect(error.reason).toBe("pass it on");
    expect(now()).toBe(11);
    expect([inner.cancelled(), outer.cancelled()]).toEqual([true, true]);
  });
});

test("65. with nested calls the innermost sees the CancelledError first, then outward", async () => {
  const seen: string[] = [];
  const inner = async (): Promise<void> => {
    try {
      await sleepForever();
    } finally {
      seen.push("inner");
    }
  };
  const task = createTask(async () => {
    try {
      await inner();
    } finally {
      seen.push("outer");
    }
  });
  await settle();
  task.cancel();
  await errorOf(task);
  expect(seen).toEqual(["inner", "outer"]);
});

test("66. somebody else's cancellation of what is awaited counts as the awaiter's, and says whose it was", async () => {
  const inner = createTask(() => sleepForever());
  const outer = createTask(async () => inner);
  await settle();
  inner.cancel();
  const error = (await errorOf(outer)) as CancelledError;
  expect(outer.cancelled()).toBe(true);
  expect(outer.cancelling()).toBe(0);
  expect(error.task).toBe(inner);
});

test("67. cancelling a task and what it awaits gives a single CancelledError", async () => {
  for (const order of ["inner first", "outer first"]) {
    let thrown = 0;
    const inner = createTask(() => sleepForever());
    const outer = createTask(async () => {
      for (let n = 0; n < 3; n++) {
        try {
          await (n === 0 ? inner : checkpoint());
        } catch {
          thrown++;
        }
      }
    });
    await settle();
    for (const task of order === "inner first" ? [inner, outer] : [outer, inner]) task.cancel();
    await outer;
    expect(thrown).toBe(1);
  }
});

test("68. a task that catches the cancellation and returns gives a normal result", async () => {
  const task = createTask(async () => {
    await endOf(sleepForever());
    return "in spite";
  });
  await settle();
  task.cancel();
  expect(await task).toBe("in spite");
  expect(task.cancelled()).toBe(false);
});

test("69. a task that catches a cancellation and waits on is not bothered again", async () => {
  await runVirtual(async () => {
    const task = createTask(async () => {
      await endOf(sleepForever());
      await sleep(10);
      await checkpoint();
      return "undisturbed";
    });
    await sleep(1);
    task.cancel();
    expect(await task).toBe("undisturbed");
    expect(task.cancelling()).toBe(1);
  });
});

test("70. cancelling oneself takes effect at the next wait", async () => {
  const seen: string[] = [];
  const task = createTask(async (own) => {
    own.cancel();
    seen.push("after cancel");
    await checkpoint();
    seen.push("never");
  });
  await errorOf(task);
  expect(seen).toEqual(["after cancel"]);
  expect(task.cancelled()).toBe(true);
});

test("71. cancelling oneself and then returning without a wait still ends cancelled", async () => {
  const task = createTask(async (own) => {
    own.cancel("at the end");
    return "value";
  });
  expect(((await errorOf(task)) as CancelledError).reason).toBe("at the end");
  expect(task.cancelled()).toBe(true);
});

test("71. a request from outside that meets no further wait came too late", async () => {
  let goOn!: () => void;
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const task = createTask(async () => {
    await gate;
    return "value";
  });
  await settle();
  expect(task.cancel()).toBe(true);
  goOn();
  expect(await task).toBe("value");
  expect(task.cancelled()).toBe(false);
});

test("71. a request that the task itself made earlier and saw does not turn a later one from outside into its own", async () => {
  let goOn!: () => void;
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const task = createTask(async (own) => {
    own.cancel();
    await endOf(checkpoint());
    own.uncancel();
    await gate;
    return "value";
  });
  await settle();
  task.cancel();
  goOn();
  expect(await task).toBe("value");
});

test("72. cancelling oneself and then awaiting a task cancels that task at once", async () => {
  const inner = createTask(() => sleepForever());
  const outer = createTask(async (own) => {
    own.cancel("mine");
    await inner;
  });
  await errorOf(outer);
  expect([inner.cancelled(), outer.cancelled()]).toEqual([true, true]);
});

test("73. the cancellation of a task that merely let others run arrives at its next step", async () => {
  const seen: string[] = [];
  const task = createTask(async () => {
    seen.push("first");
    await checkpoint();
    seen.push("second");
  });
  await Promise.resolve();
  expect(seen).toEqual(["first"]);
  task.cancel();
  await errorOf(task);
  expect(seen).toEqual(["first"]);
});

test("74. a value that was handed over before the request is delivered, and the request thrown at the next wait", async () => {
  const inner = createTask(async () => "value");
  const seen: unknown[] = [];
  const outer = createTask(async () => {
    seen.push(await inner);
    await checkpoint();
    seen.push("never");
  });
  inner.addDoneCallback(() => outer.cancel());
  await errorOf(outer);
  expect(seen).toEqual(["value"]);
  expect(outer.cancelled()).toBe(true);
});

test("75. a second cancel() while the first is under way gives true again and counts", async () => {
  await runVirtual(async () => {
    const task = createTask(async () => {
      try {
        await sleepForever();
      } finally {
        await sleep(10);
      }
    });
    await sleep(1);
    expect([task.cancel(), task.cancel()]).toEqual([true, true]);
    expect(task.cancelling()).toBe(2);
    await errorOf(task);
    expect(now()).toBe(11);
  });
});

test("76. the reason is what the CancelledError carries, whatever it is", async () => {
  const object = { why: "deploy" };
  for (const reason of ["text", object, undefined, null, 0, new Error("cause")]) {
    const task = createTask(() => sleepForever());
    await settle();
    task.cancel(reason);
    const error = (await errorOf(task)) as CancelledError;
    expect(error.reason).toBe(reason);
    expect(error.task).toBe(task);
    expect(error.code).toBe("HEDDLE_CANCELLED");
  }
  expect(new CancelledError().message).toBe("Cancelled");
  expect(new CancelledError("deploy").message).toBe("Cancelled: deploy");
  expect(inspect(new CancelledError("x"))).not.toContain("task:");
});

test("77. the one error object is seen by the task and by whoever awaits it", async () => {
  let inside: unknown;
  const task = createTask(async () => {
    try {
      await sleepForever();
    } catch (error) {
      inside = error;
      throw error;
    }
  });
  await settle();
  task.cancel();
  expect(await errorOf(task)).toBe(inside);
});

test("78. an error that wraps the cancellation is that cancellation, with the original one level down", async () => {
  const task = createTask(async () => {
    try {
      await sleepForever();
    } catch (error) {
      throw new Error("while reading", { cause: error });
    }
  });
  await settle();
  task.cancel("wrapped");
  const error = (await errorOf(task)) as CancelledError;
  expect(error.reason).toBe("wrapped");
  expect(task.cancelled()).toBe(true);
});

test("78. an AbortError thrown after the request is that cancellation; without a request it is a failure", async () => {
  const abort = (): Promise<never> => Promise.reject(new DOMException("gone", "AbortError"));
  const failed = createTask(abort);
  expect(await errorOf(failed)).toBeInstanceOf(DOMException);
  expect(failed.cancelled()).toBe(false);
  const cancelled = createTask(async (own) => {
    await new Promise<void>((resolve) => own.signal.addEventListener("abort", () => resolve()));
    await abort();
  });
  await settle();
  cancelled.cancel("stop");
  expect(((await errorOf(cancelled)) as CancelledError).reason).toBe("stop");
  expect(cancelled.cancelled()).toBe(true);
  const takenBack = createTask(async (own) => {
    await endOf(sleepForever());
    own.uncancel();
    await abort();
  });
  await settle();
  takenBack.cancel();
  await errorOf(takenBack);
  expect(takenBack.cancelled()).toBe(false);
});

test("80. any other error while the cancellation is handled is the task's failure", async () => {
  const other = new Error("clean-up failed");
  const task = createTask(async () => {
    try {
      await sleepForever();
    } finally {
      // oxlint-disable-next-line no-unsafe-finally -- a clean-up that fails
      throw other;
    }
  });
  await settle();
  task.cancel();
  expect(await errorOf(task)).toBe(other);
  expect(task.cancelled()).toBe(false);
});

test("80. errors of our own are failures, also with the cancellation as cause", async () => {
  for (const type of [TimeoutError, InvalidStateError, FatalError]) {
    const task = createTask(async () => {
      const cause = await errorOf(sleepForever());
      throw new type("mine", { cause });
    });
    await settle();
    task.cancel();
    expect(await errorOf(task)).toBeInstanceOf(type);
    expect(task.cancelled()).toBe(false);
  }
});

test("81. a subclass of CancelledError counts as a cancellation", async () => {
  class Stop extends CancelledError {}
  const task = createTask(() => Promise.reject(new Stop()));
  expect(await errorOf(task)).toBeInstanceOf(Stop);
  expect(task.cancelled()).toBe(true);
});

test("82. a FatalError raised while being cancelled is the task's failure", async () => {
  const fatal = new FatalError("out of memory");
  const task = createTask(async () => {
    await endOf(sleepForever());
    throw fatal;
  });
  await settle();
  task.cancel();
  expect(await errorOf(task)).toBe(fatal);
});

test("83. cancelling a sleeping task calls its timer off", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(() => sleep(5_000));
    await sleep(1);
    expect(clock.waiting).toBe(1);
    task.cancel();
    await errorOf(task);
    expect(clock.waiting).toBe(0);
  });
});

test("85. cancelling() counts requests; uncancel() lowers it, never below 0, and gives the rest", async () => {
  const task = createTask(async (own) => {
    await endOf(sleepForever());
    const counts = [own.cancelling(), own.uncancel(), own.cancelling(), own.uncancel()];
    return [...counts, own.uncancel(), own.cancelling()];
  });
  await settle();
  task.cancel();
  task.cancel();
  expect(await task).toEqual([2, 1, 1, 0, 0, 0]);
});

test("86. uncancel() down to 0 withdraws a request that was not thrown yet", async () => {
  const task = createTask(async (own) => {
    own.cancel();
    own.cancel();
    expect(own.uncancel()).toBe(1);
    expect(own.uncancel()).toBe(0);
    await checkpoint();
    return "undisturbed";
  });
  expect(await task).toBe("undisturbed");
  expect(task.outstanding).toBe(0);
});

test("86. uncancel() that leaves a request leaves it to be thrown", async () => {
  const task = createTask(async (own) => {
    own.cancel();
    own.cancel();
    own.uncancel();
    await checkpoint();
  });
  await errorOf(task);
  expect(task.cancelled()).toBe(true);
});

test("86. uncancel() inside a scope withdraws that scope's request too", async () => {
  await runVirtual(async (clock) => {
    const value = await timeout(5, async () => {
      await clock.advance(10);
      expect(currentTask()?.outstanding).toBe(1);
      expect(currentTask()?.uncancel()).toBe(0);
      await checkpoint();
      return "undisturbed";
    });
    expect(value).toBe("undisturbed");
    expect([currentTask()?.cancelling(), currentTask()?.outstanding]).toEqual([0, 0]);
  });
});

test("87. uncancel() does not undo a request that was thrown, nor change a finished task", async () => {
  const task = createTask(async (own) => {
    try {
      await sleepForever();
    } finally {
      own.uncancel();
    }
  });
  await settle();
  task.cancel();
  await errorOf(task);
  expect(task.cancelled()).toBe(true);
  expect(task.uncancel()).toBe(0);
  expect(task.cancelled()).toBe(true);
});

test("88. 89. a block that cancels takes its request back, and the outer code runs on undisturbed", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      expect(await errorOf(timeout(5, () => sleepForever()))).toBeInstanceOf(TimeoutError);
      expect(own.cancelling()).toBe(0);
      await sleep(10);
      return now();
    });
    expect(await task).toBe(15);
  });
});

test("90. sleep of zero or less lets what is queued run first and uses no timer", async () => {
  await runVirtual(async (clock) => {
    for (const ms of [0, -5]) {
      const seen: string[] = [];
      queueMicrotask(() => seen.push("queued before"));
      await sleep(ms);
      seen.push("slept");
      expect(seen).toEqual(["queued before", "slept"]);
      expect([clock.waiting, clock.now()]).toEqual([0, 0]);
    }
  });
});

test("90. a loop of checkpoints lets the event loop have its turns", async () => {
  let fired = false;
  void turn().then(() => (fired = true));
  const began = performance.now();
  while (!fired && performance.now() - began < 5_000) await checkpoint();
  expect(fired).toBe(true);
});

test("91. sleep gives the value that it was given", async () => {
  await runVirtual(async () => {
    expect(await sleep(5, "value")).toBe("value");
    expect(await sleep(0, "at once")).toBe("at once");
  });
});

test("92. sleep refuses what is no number", async () => {
  await expect(sleep(NaN)).rejects.toThrow(RangeError);
  await expect(sleep("5" as never)).rejects.toThrow("ms must be a number");
});

test("sleep, checkpoint and sleepForever end with a signal's reason, and leave nothing behind", async () => {
  await runVirtual(async (clock) => {
    const reason = new Error("no longer");
    const waits = [
      sleep,
      (_: number, __: unknown, o: object) => checkpoint(o),
      (_: number, __: unknown, o: object) => sleepForever(o),
    ];
    for (const wait of waits) {
      const controller = new AbortController();
      const { signal } = controller;
      const ended = errorOf(wait(50, "value", { signal }) as Promise<unknown>);
      controller.abort(reason);
      expect(await ended).toBe(reason);
      expect(await errorOf(wait(50, "value", { signal }) as Promise<unknown>)).toBe(reason);
    }
    expect(clock.waiting).toBe(0);
  });
});

test("tasks that await each other in a ring end when one of them is cancelled", async () => {
  const ring: Task<unknown>[] = [0, 1, 2].map((n) =>
    createTask(async () => {
      await Promise.resolve();
      await ring[(n + 1) % 3];
    }),
  );
  await settle();
  ring[0]?.cancel("unlock");
  await settle();
  expect(ring.map((task) => task.cancelled())).toEqual([true, true, true]);
  expect(ring.map((task) => task.cancelling())).toEqual([1, 1, 1]);
});

test("Task.signal aborts with the CancelledError as its reason, also when it is made later", async () => {
  const task = createTask(async (own) => {
    const error = await errorOf(sleepForever());
    expect(own.signal.aborted).toBe(true);
    expect(own.signal.reason).toBe(error);
    await endOf(checkpoint());
  });
  await settle();
  task.cancel();
  await task;
  const early = createTask(async (own) => {
    const { signal } = own;
    expect(signal.aborted).toBe(false);
    const error = await errorOf(sleepForever());
    expect(signal.reason).toBe(error);
  });
  await settle();
  early.cancel();
  await early;
});

test("cancellable ends at once, aborts its signal, and a later rejection is nobody's", async () => {
  const { stdout, status } = await runChild(`
    import { cancellable, CancelledError, createTask } from "heddle";
    process.on("unhandledRejection", (error) => console.log("unhandled", error));
    let fail;
    const foreign = new Promise((_, reject) => (fail = reject));
    const task = createTask(() => cancellable((signal) => {
      signal.addEventListener("abort", () => console.log("aborted", signal.reason instanceof CancelledError));
      return foreign;
    }));
    await null; await null;
    task.cancel();
    try { await task; } catch (error) { console.log(error.name); }
    fail(new Error("too late"));
    await new Promise((resolve) => setImmediate(resolve));
    console.log("end");
  `);
  expect(stdout).toBe("aborted true\nCancelledError\nend\n");
  expect(status).toBe(0);
});

test("cancellable gives what the promise gives, and what the function throws", async () => {
  expect(await cancellable(Promise.resolve(1))).toBe(1);
  expect(await cancellable(() => 2)).toBe(2);
  expect(await cancellable(createTask(async () => 3))).toBe(3);
  const error = new Error("mine");
  expect(await errorOf(cancellable(Promise.reject(error)))).toBe(error);
  expect(
    await errorOf(
      cancellable(() => {
        throw error;
      }),
    ),
  ).toBe(error);
  await expect(cancellable(5 as never)).rejects.toThrow(TypeError);
});

test("cancellable on a wait of the library withdraws that wait, and one that was served keeps its value", async () => {
  await runVirtual(async (clock) => {
    const seen: unknown[] = [];
    const slept = createTask(async () => {
      const wait = sleep(10, "value");
      seen.push(await cancellable(wait));
      await checkpoint();
    });
    await sleep(5);
    slept.cancel();
    await errorOf(slept);
    expect([seen, clock.waiting]).toEqual([[], 0]);
  });
});

test("cancellable leaves no reaction behind on a long-lived promise", async () => {
  let reactions = 0;
  const forever: Promise<never> = new Promise(() => {});
  const then = forever.then.bind(forever);
  // oxlint-disable-next-line no-thenable -- counts the reactions
  forever.then = ((...args: Parameters<typeof then>) => {
    reactions++;
    return then(...args);
  }) as typeof forever.then;
  await runVirtual(async () => {
    for (let n = 0; n < 10; n++) {
      expect(await errorOf(timeout(1, () => cancellable(forever)))).toBeInstanceOf(TimeoutError);
    }
  });
  expect(reactions).toBe(1);
});

test("cancellable leaves no wait behind on a long-lived promise", async () => {
  const forever = new Promise<never>(() => {});
  const ref = await runVirtual(async () => {
    const task = createTask(() => cancellable(forever));
    await sleep(1);
    const found = new WeakRef(task.lastWait as object);
    task.cancel();
    await errorOf(task);
    return found;
  });
  for (let n = 0; n < 20 && ref.deref() !== undefined; n++) {
    await turn();
    globalThis.gc?.();
  }
  expect(ref.deref()).toBeUndefined();
  void forever;
});

test("cancellable with an outstanding cancellation does not call the function", async () => {
  let called = false;
  const task = createTask(async (own) => {
    own.cancel();
    await cancellable(() => {
      called = true;
      return Promise.resolve();
    });
  });
  await errorOf(task);
  expect([called, task.cancelled()]).toEqual([false, true]);
});

test("rethrowIfCancelled throws cancellations and lets everything else be", async () => {
  const cancelled = new CancelledError("stop");
  for (const error of [
    undefined,
    "text",
    new Error("x"),
    new TimeoutError("t", { cause: cancelled }),
  ]) {
    expect(() => rethrowIfCancelled(error)).not.toThrow();
  }
  expect(() => rethrowIfCancelled(cancelled)).toThrow(cancelled);
  expect(() => rethrowIfCancelled(new Error("wrapped", { cause: cancelled }))).toThrow(cancelled);
  const abort = new DOMException("gone", "AbortError");
  expect(() => rethrowIfCancelled(abort)).not.toThrow();
  await createTask(async (own) => {
    rethrowIfCancelled(abort);
    own.cancel("now");
    await endOf(checkpoint());
    expect(() => rethrowIfCancelled(abort)).toThrow("Cancelled: now");
  });
  await runVirtual(async () => {
    const ended = timeout(5, async () => {
      await endOf(sleepForever());
      rethrowIfCancelled(abort);
    });
    expect(await errorOf(ended)).toBeInstanceOf(TimeoutError);
  });
});

test("an uncaught cancellation of a task that nobody awaits is no unhandled rejection", async () => {
  const { status, stderr } = await runChild(`
    import { createTask, sleep, sleepForever } from "heddle";
    const task = createTask(async () => { void sleepForever(); await sleepForever(); });
    await null; await null;
    task.cancel();
  `);
  expect([status, stderr]).toEqual([0, ""]);
  expect(currentTask()).toBeUndefined();
});
