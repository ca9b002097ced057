// For tests that look at a promise from outside, and let others run without time.

/** Lets `count` rounds of microtasks pass. */
export async function turns(count = 10): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
}

/** What has become of a promise so far. */
export interface Outcome<T> {
  state: "waiting" | "fulfilled" | "rejected";
  value: T | undefined;
  error: unknown;
}

export function watch<T>(promise: PromiseLike<T>): Outcome<T> {
  const outcome: Outcome<T> = { state: "waiting", value: undefined, error: undefined };
  promise.then(
    (value) => {
      outcome.state = "fulfilled";
      outcome.value = value;
    },
    (error: unknown) => {
      outcome.state = "rejected";
      outcome.error = error;
    },
  );
  return outcome;
}
