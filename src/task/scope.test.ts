// D10 and the contract's "Scopes": a task with several waits at once.
import fc from "fast-check";
import { expect, test } from "vitest";
import { runVirtual } from "../testing/virtual-clock.ts";
import { CancelledError, TaskGroupError, TimeoutError } from "./errors.ts";
import { allTasks } from "./live.ts";
import { checkpoint, now, sleep, sleepForever } from "./sleep.ts";
import { createTask, currentTask, type Task } from "./task.ts";
import { taskGroup } from "./task-group.ts";
import { endOf, errorOf, settle } from "./test-support/settle.ts";
import { timeout } from "./timeout.ts";
import { waitFor } from "./wait-for.ts";

test("cancelling a task ends all its outstanding waits with the same error", async () => {
  const errors: unknown[] = [];
  const strand = async (): Promise<void> => {
    errors.push(await errorOf(sleepForever()));
  };
  const task = createTask(() => Promise.all([strand(), strand(), strand()]));
  await settle();
  expect(String(task)).toContain("waiting on sleepForever and sleepForever and sleepForever");
  task.cancel("all");
  await task;
  expect(errors).toHaveLength(3);
  expect(new Set(errors).size).toBe(1);
  expect(task.lastWait).toBeUndefined();
});

test("of ten parallel timeouts in one task one expires alone", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      const limits = Array.from({ length: 10 }, (_, n) => (n === 4 ? 5 : 100));
      const ends = await Promise.all(
        limits.map((ms, n) => endOf(timeout(ms, () => sleep(20, `strand ${n}`)))),
      );
      expect([own.cancelling(), now()]).toEqual([0, 20]);
      return ends;
    });
    const ends = await task;
    expect(ends.filter((end) => end instanceof TimeoutError)).toHaveLength(1);
    expect(ends[4]).toBeInstanceOf(TimeoutError);
    expect(ends[5]).toBe("strand 5");
  });
});

test("a cancellation ends every strand, also those in timeouts of their own", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(() =>
      Promise.allSettled([
        timeout(100, () => sleepForever()),
        timeout(100, () => timeout(50, () => sleepForever())),
        sleepForever(),
      ]),
    );
    await sleep(1);
    task.cancel("all");
    const ends = await task;
    expect(new Set(ends.map((end) => (end as PromiseRejectedResult).reason as unknown)).size).toBe(
      1,
    );
    expect(clock.waiting).toBe(0);
  });
});

test("a request that finds nothing waiting is thrown once, at the next wait", async () => {
  let goOn!: () => void;
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const thrown: number[] = [];
  const task = createTask(async () => {
    await gate;
    for (let n = 0; n < 4; n++) {
      try {
        await checkpoint();
      } catch {
        thrown.push(n);
      }
    }
  });
  await settle();
  task.cancel();
  task.cancel();
  goOn();
  await task;
  expect(thrown).toEqual([0]);
  expect(task.outstanding).toBe(0);
});

test("a request for a scope that finds nothing waiting is withdrawn when the scope is left", async () => {
  await runVirtual(async (clock) => {
    const task = createTask(async (own) => {
      const value = await timeout(5, async () => {
        // The time is up while the body waits for something foreign.
        await clock.advance(10);
        expect([own.cancelling(), own.outstanding]).toEqual([1, 1]);
        return "value";
      });
      expect([own.cancelling(), own.outstanding]).toEqual([0, 0]);
      await checkpoint();
      return value;
    });
    expect(await task).toBe("value");
  });
});

test("requests for a scope and for its task, neither seen, are thrown as one", async () => {
  await runVirtual(async (clock) => {
    let thrown = 0;
    const task: Task<unknown> = createTask((own) =>
      timeout(5, async () => {
        await clock.advance(10);
        own.cancel("whole");
        for (let n = 0; n < 3; n++) {
          const end = await endOf(checkpoint());
          if (end instanceof CancelledError) {
            thrown++;
            expect(end.reason).toBe("whole");
          }
        }
      }),
    );
    await task;
    expect([thrown, task.cancelling(), task.outstanding]).toEqual([1, 1, 0]);
  });
});

test("a request from outside that comes while an expired scope cleans up is thrown once, at its edge", async () => {
  await runVirtual(async (clock) => {
    const task: Task<unknown> = createTask(async (own) => {
      const error = await errorOf(
        timeout(5, async () => {
          try {
            await sleepForever();
          } finally {
            // Cleans up with something foreign, while the request comes.
            clock.wakeAfter(5, () => own.cancel("from outside"));
            await clock.advance(10);
            expect(own.outstanding).toBe(1);
          }
        }),
      );
      expect((error as CancelledError).reason).toBe("from outside");
      expect([own.cancelling(), own.outstanding]).toEqual([1, 0]);
      await checkpoint();
      return "not bothered again";
    });
    expect(await task).toBe("not bothered again");
  });
});

test("a group that closes lets in what was asked for while nothing waited", async () => {
  await runVirtual(async (clock) => {
    let child!: Task<unknown>;
    const task: Task<unknown> = createTask((own) =>
      taskGroup(async (group) => {
        child = group.createTask(() => sleepForever());
        clock.wakeAfter(5, () => own.cancel("from outside"));
        await clock.advance(10);
      }),
    );
    expect(((await errorOf(task)) as CancelledError).reason).toBe("from outside");
    expect([child.cancelled(), task.cancelled(), task.outstanding]).toEqual([true, true, 0]);
  });
});

test("a strand's timeout does not reach into its sibling, nor into the scope around it", async () => {
  await runVirtual(async () => {
    const seen: string[] = [];
    await timeout(100, async () => {
      const sibling = sleep(20).then(() => seen.push("sibling"));
      expect(await errorOf(timeout(5, () => sleepForever()))).toBeInstanceOf(TimeoutError);
      await sleep(5);
      seen.push("around");
      await sibling;
    });
    expect(seen).toEqual(["around", "sibling"]);
  });
});

test("a task made in a scope is no part of it", async () => {
  await runVirtual(async () => {
    let child!: Task<string>;
    const error = await errorOf(
      timeout(5, async () => {
        child = createTask(() => sleep(20, "child"));
        await sleepForever();
      }),
    );
    expect(error).toBeInstanceOf(TimeoutError);
    expect(await child).toBe("child");
  });
});

test("two groups in one task fail alone", async () => {
  await runVirtual(async () => {
    const task = createTask(async (own) => {
      const ends = await Promise.all([
        endOf(
          taskGroup(async (group) => {
            group.createTask(async () => {
              await sleep(5);
              throw new Error("first group");
            });
            await sleepForever();
          }),
        ),
        endOf(
          taskGroup(async (group) => {
            const child = group.createTask(() => sleep(20, "second group"));
            return child;
          }),
        ),
      ]);
      expect(own.cancelling()).toBe(0);
      return ends;
    });
    const [first, second] = await task;
    expect(first).toBeInstanceOf(TaskGroupError);
    expect(second).toBe("second group");
  });
});

// A random program: nested scopes, strands and groups, cancelled at random moments.
type Step =
  | { readonly kind: "sleep"; readonly ms: number }
  | { readonly kind: "checkpoint" }
  | { readonly kind: "foreign"; readonly turns: number }
  | { readonly kind: "throw" }
  | { readonly kind: "cancelSelf" }
  | { readonly kind: "awaitTask"; readonly steps: readonly Step[] }
  | { readonly kind: "timeout"; readonly ms: number; readonly steps: readonly Step[] }
  | { readonly kind: "waitFor"; readonly ms: number; readonly steps: readonly Step[] }
  | {
      readonly kind: "group";
      readonly children: readonly (readonly Step[])[];
      readonly steps: readonly Step[];
    }
  | { readonly kind: "strands"; readonly strands: readonly (readonly Step[])[] }
  | { readonly kind: "cleanUp"; readonly steps: readonly Step[]; readonly after: readonly Step[] };

const { steps: anySteps } = fc.letrec<{ step: Step; steps: Step[] }>((tie) => ({
  step: fc.oneof(
    { maxDepth: 4, depthSize: "small" },
    fc.record({ kind: fc.constant("sleep" as const), ms: fc.integer({ min: 0, max: 12 }) }),
    fc.constant({ kind: "checkpoint" as const }),
    fc.record({ kind: fc.constant("foreign" as const), turns: fc.integer({ min: 1, max: 6 }) }),
    fc.constant({ kind: "throw" as const }),
    fc.constant({ kind: "cancelSelf" as const }),
    fc.record({ kind: fc.constant("awaitTask" as const), steps: tie("steps") }),
    fc.record({
      kind: fc.constant("timeout" as const),
      ms: fc.integer({ min: 0, max: 12 }),
      steps: tie("steps"),
    }),
    fc.record({
      kind: fc.constant("waitFor" as const),
      ms: fc.integer({ min: 0, max: 12 }),
      steps: tie("steps"),
    }),
    fc.record({
      kind: fc.constant("group" as const),
      children: fc.array(tie("steps"), { maxLength: 3 }),
      steps: tie("steps"),
    }),
    fc.record({
      kind: fc.constant("strands" as const),
      strands: fc.array(tie("steps"), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constant("cleanUp" as const),
      steps: tie("steps"),
      after: tie("steps"),
    }),
  ) as fc.Arbitrary<Step>,
  steps: fc.array(tie("step"), { maxLength: 4, depthIdentifier: "steps" }),
}));

class Planned extends Error {}

async function perform(steps: readonly Step[]): Promise<void> {
  for (const step of steps) await performOne(step);
}

async function performOne(step: Step): Promise<void> {
  switch (step.kind) {
    case "sleep":
      return sleep(step.ms);
    case "checkpoint":
      return checkpoint();
    case "foreign":
      for (let n = 0; n < step.turns; n++) await Promise.resolve();
      return;
    case "throw":
      throw new Planned();
    case "cancelSelf": {
      // Asks, sees it, and takes it back: what a library inside would do.
      const own = currentTask();
      own?.cancel("self");
      try {
        await checkpoint();
      } finally {
        own?.uncancel();
      }
      return;
    }
    case "awaitTask":
      return createTask(() => perform(step.steps));
    case "timeout":
      return timeout(step.ms, () => perform(step.steps));
    case "waitFor":
      return waitFor(() => perform(step.steps), step.ms);
    case "group":
      return taskGroup(async (group) => {
        for (const child of step.children) group.createTask(() => perform(child));
        await perform(step.steps);
      });
    case "strands": {
      // Every strand is waited for, so that none outlives its scope.
      const ends = await Promise.allSettled(step.strands.map((strand) => perform(strand)));
      for (const end of ends) if (end.status === "rejected") throw end.reason;
      return;
    }
    case "cleanUp":
      try {
        await perform(step.steps);
      } finally {
        await perform(step.after);
      }
  }
}

test("random programs of scopes, strands and groups keep the counts and leave nothing behind", async () => {
  const before = new Set(allTasks());
  await fc.assert(
    fc.asyncProperty(
      anySteps,
      fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 3 }),
      async (steps, cancelAt) => {
        await runVirtual(async (clock) => {
          const task: Task<void> = createTask(() => perform(steps), { name: "program" });
          let asked = 0;
          for (const at of cancelAt) clock.wakeAfter(at, () => void (task.cancel(at) && asked++));
          const end = await endOf(task);
          // Every scope has taken its own request back, and nobody else's.
          const bySelf = JSON.stringify(steps).includes("cancelSelf");
          if (!bySelf) expect(task.cancelling()).toBe(asked);
          if (asked === 0) {
            expect(task.cancelling()).toBe(0);
            expect(task.outstanding).toBe(0);
            // What was thrown and taken back may still leave the task.
            if (!bySelf) expect(end).not.toBeInstanceOf(CancelledError);
          }
          expect(task.outstanding).toBeLessThanOrEqual(1);
          expect(task.lastWait).toBeUndefined();
          await sleep(1_000);
          const left = allTasks().filter((each) => !before.has(each) && each.name !== "main");
          expect(left).toEqual([]);
          expect(clock.waiting).toBe(0);
        });
      },
    ),
    { numRuns: Number(process.env["HEDDLE_RUNS"] ?? 400) },
  );
}, 60_000);
