// The program's root: its main task, the signals that end it, and the end of
// all that was made under it.
import { constants } from "node:os";
import { systemClock } from "./clock.ts";
import { CancelledError, InvalidStateError } from "./errors.ts";
import { kindOf } from "./item.ts";
import { allTasks } from "./live.ts";
import { report } from "./report.ts";
import { currentClock, currentScope, runInScope, Scope } from "./scope.ts";
import { launch, makeTask, type Task, type Work } from "./task.ts";

/** Options of `run`. */
export interface RunOptions {
  /** The signals that cancel `main`; none when false. @default SIGINT and SIGTERM */
  readonly signals?: boolean | readonly NodeJS.Signals[] | undefined;
}

/** What a shell says of a process that a signal has ended. */
function statusOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/**
 * Runs `main` as the program's first task, and ends what was made under it.
 *
 * SIGINT and SIGTERM cancel `main`; a second one ends the process at once, with
 * the status 130 or 143. `sleepForever()` in `main` keeps the process until then. When `main` has ended, the tasks that are left of those made
 * under it are cancelled and waited for; errors of theirs are reported as warnings.
 *
 * @returns what `main` returned. When a signal has ended it that is `undefined`, and the
 * exit status of the process is set to 130 or 143: an ordinary end, without a stack trace.
 * If `main` returns in spite of a signal its value is given and the status stays as it is
 * @throws what `main` threw; a `CancelledError` if others than the signal cancelled it
 * @throws {InvalidStateError} If it is called under another `run`
 *
 * @remarks
 * **When cancelled:** `main` is cancelled, and waited for with all that was made under it.
 *
 * @example
 * ```ts
 * import { run, sleep } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const answer = await run(async () => {
 *   await sleep(1);
 *   return 42;
 * });
 * assert.equal(answer, 42);
 * ```
 */
export async function run<T>(main: Work<T>, options: RunOptions = {}): Promise<T | undefined> {
  if (typeof main !== "function") {
    throw new TypeError(
      `Cannot run ${kindOf(main)}: pass the function itself, as in run(async () => …)`,
    );
  }
  const { signals = true } = options;
  const around = currentScope();
  if (around?.root !== undefined) {
    throw new InvalidStateError("Cannot run: another run() is around this one");
  }
  const root = {};
  const scope = new Scope(undefined, undefined, currentClock(), around?.owner, root);
  const task = runInScope(scope, () => makeTask(main, { name: "main" }), undefined);
  const listening = signals === true ? (["SIGINT", "SIGTERM"] as const) : signals || [];
  const ending = new SignalEnd(task as Task<unknown>);
  const alive = new KeepAlive(root);
  for (const signal of listening) process.on(signal, ending.onSignal);
  process.on("beforeExit", alive.onIdle);
  try {
    const result = task.wait();
    result.catch(() => {});
    runInScope(scope, () => launch(task, main, false), undefined);
    await settled(result);
    await endAll(root);
    if (ending.endedBySignal()) return undefined;
    return await result;
  } finally {
    for (const signal of listening) process.off(signal, ending.onSignal);
    process.off("beforeExit", alive.onIdle);
    alive.end();
  }
}

/**
 * Keeps the process while a task under `root` waits until it is cancelled: a
 * listener for signals does not. One that waits for what can never come does
 * not keep it either, so that it shows.
 */
class KeepAlive {
  readonly #root: object;
  #end: (() => void) | undefined = undefined;

  constructor(root: object) {
    this.#root = root;
  }

  readonly onIdle = (): void => {
    if (allTasks().some((task) => task.scope.root === this.#root && waitsOnPurpose(task))) {
      this.#end ??= systemClock.wakeAfter(Number.MAX_SAFE_INTEGER, this.onIdle);
    }
  };

  end(): void {
    this.#end?.();
  }
}

function waitsOnPurpose(task: Task<unknown>): boolean {
  for (let wait = task.lastWait; wait !== undefined; wait = wait.before) {
    if (wait.kind.deliberate === true) return true;
  }
  return false;
}

/** What the signals do to one `main`. */
class SignalEnd {
  readonly #main: Task<unknown>;
  #first: NodeJS.Signals | undefined = undefined;

  constructor(main: Task<unknown>) {
    this.#main = main;
  }

  readonly onSignal = (signal: NodeJS.Signals): void => {
    if (this.#first !== undefined) process.exit(statusOf(signal));
    this.#first = signal;
    this.#main.cancel(signal);
  };

  /** Sets the exit status if the signal alone has ended `main`. */
  endedBySignal(): boolean {
    if (this.#first === undefined || !this.#main.cancelled() || this.#main.cancelling() > 1) {
      return false;
    }
    process.exitCode = statusOf(this.#first);
    return true;
  }
}

async function settled(result: Promise<unknown>): Promise<void> {
  await result.then(
    () => {},
    () => {},
  );
}

/** Cancels what was made under `root`, also what is made meanwhile, and waits for it. */
async function endAll(root: object): Promise<void> {
  for (;;) {
    const left = allTasks().filter((task) => task.scope.root === root);
    if (left.length === 0) return;
    const requests = left.map((task) => task.cancelling());
    const ends = left.map(ended);
    for (const [n, task] of left.entries()) {
      // One that was asked on the way, by whoever awaits it, is asked once.
      if (task.cancelling() > (requests[n] as number)) continue;
      task.request(new CancelledError("run() has ended", task));
    }
    await Promise.all(ends);
  }
}

function ended(task: Task<unknown>): Promise<void> {
  return new Promise((resolve) => {
    task.watch({
      taskEnded() {
        if (task.failedOrCancelled && !task.cancelled()) {
          report(`${task.toString()} failed when run() ended it`, task.outcome);
        }
        resolve();
      },
    });
  });
}
