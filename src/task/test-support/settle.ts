import { nextTurn } from "../clock.ts";

/** A turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise<void>(nextTurn);
}

/** Lets what is ready run: enough rounds of microtasks for every chain in these tests. */
export async function settle(rounds = 50): Promise<void> {
  for (let n = 0; n < rounds; n++) await Promise.resolve();
}

/** What `promise` rejects with; the test fails if it does not. */
export async function errorOf(promise: PromiseLike<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`Expected an error, and got the value ${String(value)}`);
}

/** Runs `work` and gives what it did: the value or the error. */
export async function endOf<T>(promise: PromiseLike<T>): Promise<T | Error> {
  try {
    return await promise;
  } catch (error) {
    return error as Error;
  }
}
