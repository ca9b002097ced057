import { expectTypeOf, test } from "vitest";
import { asCompleted } from "./as-completed.ts";
import { cancellable } from "./cancellable.ts";
import { gather } from "./gather.ts";
import { run } from "./run.ts";
import { shield } from "./shield.ts";
import { sleep } from "./sleep.ts";
import { createTask, type Task } from "./task.ts";
import { taskGroup } from "./task-group.ts";
import { timeout } from "./timeout.ts";
import { waitFor } from "./wait-for.ts";
import { wait } from "./wait-tasks.ts";

test("gather gives each result the type of its item, in its place", async () => {
  const results = await gather([createTask(async () => 1), Promise.resolve("a"), async () => true]);
  expectTypeOf(results).toEqualTypeOf<[number, string, boolean]>();
  const list = await gather(new Set([async () => 1]));
  expectTypeOf(list).toEqualTypeOf<number[]>();
  const outcomes = await gather([async () => 1], { returnExceptions: true });
  expectTypeOf(outcomes).toEqualTypeOf<[number | Error]>();
  // @ts-expect-error a number is no item
  void gather([1]);
});

test("createTask knows the result, also of work that takes its task", () => {
  expectTypeOf(createTask(async (own) => own.name)).toEqualTypeOf<Task<string>>();
  expectTypeOf(createTask(() => 1)).toEqualTypeOf<Task<number>>();
});

test("wait keeps the type of the tasks; asCompleted has the union of the results", async () => {
  const one = createTask(async () => 1);
  const text = createTask(async () => "a");
  const { done } = await wait([one, text]);
  expectTypeOf(done).toEqualTypeOf<Set<Task<number> | Task<string>>>();
  // @ts-expect-error wait takes tasks only
  void wait([async () => 1]);
  for await (const task of asCompleted([one, async () => "a"])) {
    expectTypeOf(task).toEqualTypeOf<Task<string | number>>();
  }
  for (const next of asCompleted([one])) expectTypeOf(next).toEqualTypeOf<Promise<number>>();
});

test("the bodies' results come out as they are", async () => {
  expectTypeOf(await timeout(1, () => sleep(1, "a" as string))).toEqualTypeOf<string>();
  expectTypeOf(await timeout(null, (scope) => scope.when)).toEqualTypeOf<number | null>();
  expectTypeOf(await waitFor(async () => 1, 5)).toEqualTypeOf<number>();
  expectTypeOf(await shield(createTask(async () => 1))).toEqualTypeOf<number>();
  expectTypeOf(await cancellable((signal) => [signal])).toEqualTypeOf<AbortSignal[]>();
  // A group that was cancelled has no result.
  expectTypeOf(await taskGroup(async () => 1)).toEqualTypeOf<number | undefined>();
  expectTypeOf(await run(async () => 1)).toEqualTypeOf<number | undefined>();
});
