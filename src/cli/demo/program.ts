// Runs one state of the demo for its time, and counts what it leaves behind.
import { allTasks } from "../../task/live.ts";
import { createTask } from "../../task/task.ts";
import { wait } from "../../task/wait-tasks.ts";
import type { DemoRun } from "../demo.ts";

export type Print = (line: string) => void;

/** What came of a program. */
export interface DemoOutcome {
  /** Calls whose end message was handled */
  readonly calls: number;
  /** Tasks that were still pending when the program had stopped */
  readonly pending: number;
}

/** @throws what the program fails with */
export async function runProgram(
  program: (print: Print) => Promise<unknown>,
  { print, seconds, signal }: DemoRun,
): Promise<DemoOutcome> {
  const before = new Set(allTasks());
  const pendingTasks = () => allTasks().filter((task) => !before.has(task));
  let calls = 0;
  const main = createTask(() =>
    program((line) => {
      if (line.endsWith("is end")) calls += 1;
      print(line);
    }),
  );
  const stop = (): void => void main.cancel();
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  for (let second = 1; second <= seconds && !main.done(); second++) {
    const { pending } = await wait([main], { timeoutMs: 1_000 });
    if (pending.size > 0) print(`-- after ${second} s: tasks alive: ${pendingTasks().length}`);
  }
  signal.removeEventListener("abort", stop);

  stop();
  await wait([main]);
  if (!main.cancelled()) main.result();
  const left = pendingTasks();
  print(`-- stopped: calls handled: ${calls}, tasks still pending: ${left.length}`);
  // Swept up, so that the next program does not stand in this one's dust.
  for (const task of left) task.cancel();
  if (left.length > 0) await wait(left);
  return { calls, pending: left.length };
}
