// What `acquire()` gives, and what the `with…` forms do with it.

/**
 * Something that was acquired; it is to be given back once.
 *
 * With `using guard = await lock.acquire()` the end of the block gives it
 * back; where `using` does not parse, a `finally` calls `release()`.
 */
export interface Guard extends Disposable {
  /** Gives it back. Only the first call does anything. */
  release(): void;
}

/** Calls `work` and releases `guard` however it ends. @internal */
export async function whileHeld<R>(guard: Guard, work: () => R | PromiseLike<R>): Promise<R> {
  try {
    return await work();
  } finally {
    guard.release();
  }
}
