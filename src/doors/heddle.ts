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
export { allTasks } from "../task/live.ts";
export { checkpoint, now, sleep, sleepForever } from "../task/sleep.ts";
export { createTask, currentTask } from "../task/task.ts";
export type { Task, TaskOptions, Work } from "../task/task.ts";
export type { WaitOptions } from "../task/wait.ts";
