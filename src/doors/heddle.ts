// Tasks, queues and locks: `import { createTask } from "heddle"`.
export {
  CancelledError,
  FatalError,
  InvalidStateError,
  TaskGroupError,
  TaskLostError,
  TimeoutError,
} from "../task/errors.ts";
export { QueueEmpty, QueueFull, QueueShutDown } from "../sync/errors.ts";
export { Event } from "../sync/event.ts";
export type { Guard } from "../sync/guard.ts";
export { Lock } from "../sync/lock.ts";
export { LifoQueue, PriorityQueue, Queue } from "../sync/queue.ts";
export type { PriorityQueueOptions, QueueOptions, ShutdownOptions } from "../sync/queue.ts";
export { BoundedSemaphore, Semaphore } from "../sync/semaphore.ts";
export type { Clock } from "../task/clock.ts";
export { systemClock } from "../task/clock.ts";
export type { AsCompletedOptions, Completions } from "../task/as-completed.ts";
export { asCompleted } from "../task/as-completed.ts";
export { cancellable } from "../task/cancellable.ts";
export type { GatherOptions, GatherOutcomes, GatherResults } from "../task/gather.ts";
export { gather } from "../task/gather.ts";
export type { Item, ItemResult } from "../task/item.ts";
export { allTasks } from "../task/live.ts";
export { rethrowIfCancelled } from "../task/rethrow.ts";
export type { RunOptions } from "../task/run.ts";
export { run } from "../task/run.ts";
export { shield } from "../task/shield.ts";
export { checkpoint, now, sleep, sleepForever } from "../task/sleep.ts";
export { createTask, currentTask } from "../task/task.ts";
export type { Task, TaskOptions, Work } from "../task/task.ts";
export type { TaskGroup } from "../task/task-group.ts";
export { taskGroup } from "../task/task-group.ts";
export type { TimeoutScope } from "../task/timeout.ts";
export { timeout, timeoutAt } from "../task/timeout.ts";
export { waitFor } from "../task/wait-for.ts";
export type { ReturnWhen, WaitTasksOptions } from "../task/wait-tasks.ts";
export { wait } from "../task/wait-tasks.ts";
export type { WaitOptions } from "../task/wait.ts";
