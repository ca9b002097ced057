// The record that the async context carries.
//
// It is the scope, not the task: a task can have several waits at once, and a
// `timeout` in one of its strands must be able to end the waits of that strand
// alone. What is made in a task (a timer, a socket) keeps its context alive,
// so the record is small.
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import type { Clock } from "./clock.ts";
import { systemClock } from "./clock.ts";
import type { CancelledError } from "./errors.ts";
import type { Task } from "./task.ts";

/**
 * Whoever answers for the tasks that are made under it: a session.
 *
 * @internal
 */
export interface TaskOwner {
  /** A task was made in one of the owner's scopes: takes it on as a child, while there is anything to be the child of */
  adopt(task: Task<unknown>): void;
  /** The task of the call in progress, made now if nobody has asked for it before */
  taskNow(): Task<unknown> | undefined;
}

/** @internal */
export class Scope {
  /** Whose waits these are; a session's scope has one only while a call is in progress */
  task: Task<unknown> | undefined;
  readonly clock: Clock;
  owner: TaskOwner | undefined;
  /** The scope around it, in the same task */
  declare readonly outer: Scope | undefined;
  /** The program's root under which it was made (`run`) */
  declare readonly root: object | undefined;
  /** A request that found nothing waiting: thrown once, at the next wait */
  declare pending: CancelledError | undefined;
  /** How many cancellations of this scope itself were asked for and not taken back */
  declare requests: number;

  // Every session has a scope, and few of them ever need the other four: what is
  // as it mostly is stands on the prototype, and costs no scope anything.
  static {
    const usual = { outer: undefined, root: undefined, pending: undefined, requests: 0 };
    for (const [name, value] of Object.entries(usual)) {
      Object.defineProperty(this.prototype, name, { value, writable: true });
    }
  }

  constructor(
    task: Task<unknown> | undefined,
    outer: Scope | undefined,
    clock: Clock,
    owner: TaskOwner | undefined,
    root: object | undefined,
  ) {
    this.task = task;
    this.clock = clock;
    this.owner = owner;
    if (outer !== undefined) this.outer = outer;
    if (root !== undefined) this.root = root;
  }
}

/** Makes a scope ready for its next task. @internal */
export function resetScope(scope: Scope): void {
  if (scope.pending !== undefined) scope.pending = undefined;
  if (scope.requests !== 0) scope.requests = 0;
}

const storage = new AsyncLocalStorage<Scope | undefined>();

/** The scope that the running code is in. @internal */
export function currentScope(): Scope | undefined {
  return storage.getStore();
}

/** The task of `scope`, made now where its owner makes it only on demand. @internal */
export function taskOf(scope: Scope): Task<unknown> | undefined {
  return scope.task ?? scope.owner?.taskNow();
}

/** The clock of the running code. @internal */
export function currentClock(): Clock {
  return storage.getStore()?.clock ?? systemClock;
}

/** Whether `scope` is `around` or inside it. @internal */
export function isInside(scope: Scope | undefined, around: Scope): boolean {
  for (let at = scope; at !== undefined; at = at.outer) if (at === around) return true;
  return false;
}

/** Calls `work` in `scope`; what it starts stays there. @internal */
export function runInScope<A, R>(scope: Scope | undefined, work: (arg: A) => R, arg: A): R {
  return storage.run(scope, work, arg);
}

/**
 * Puts the rest of this callback into `scope`. Only for the top of a callback
 * that the machine called (a microtask, `EnterPoint.run`), whose context ends
 * with it: `AsyncLocalStorage.run` costs twice as much, because it also makes
 * the context that it goes back to.
 *
 * @internal
 */
export function enterScope(scope: Scope | undefined): void {
  storage.enterWith(scope);
}

/**
 * A context that can be entered again and again for some 20 ns: a router's
 * own, and one for each session with an async handler.
 *
 * @internal
 */
export class EnterPoint extends AsyncResource {
  constructor() {
    super("HeddleScope");
  }
}

/**
 * The context of nobody, as it was when this module was loaded: what a session's
 * context is made on. Neither whoever made the router nor whoever sends is in
 * it, and nothing has to be copied from it.
 *
 * @internal
 */
export const ground: EnterPoint = new EnterPoint();

// Node 22 follows contexts only from their first use on. Were that `enterScope` in
// a microtask, the first task's scope would stay behind in the code that made it.
if (Number.parseInt(process.versions.node, 10) < 24) {
  storage.run(new Scope(undefined, undefined, systemClock, undefined, undefined), () => {});
}
