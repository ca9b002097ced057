// Tasks, queues and locks: `import { createTask } from "heddle"`.
export {
  CancelledError,
  FatalError,
  InvalidStateError,
  TaskGroupError,
  TaskLostError,
  TimeoutError,
} from "../task/errors.ts";
export type { Clock } from "../task/clock.ts";
export { systemClock } from "../task/clock.ts";
export { allTasks } from "../task/live.ts";
export { checkpoint, now, sleep, sleepForever } from "../task/sleep.ts";
export { createTask, currentTask } from "../task/task.ts";
export type { Task, TaskOptions, Work } from "../task/task.ts";
export type { WaitOptions } from "../task/wait.ts";
