// The errors of the queues that somebody will catch.

/** `putNowait` found no room. */
export class QueueFull extends Error {
  override readonly name = "QueueFull";
  readonly code = "HEDDLE_QUEUE_FULL";
}

/** `getNowait` found no item. */
export class QueueEmpty extends Error {
  override readonly name = "QueueEmpty";
  readonly code = "HEDDLE_QUEUE_EMPTY";
}

/** The queue was shut down: nothing can be put any more, and nothing is left to get. */
export class QueueShutDown extends Error {
  override readonly name = "QueueShutDown";
  readonly code = "HEDDLE_QUEUE_SHUT_DOWN";
}
