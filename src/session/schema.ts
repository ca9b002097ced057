// Validation by a Standard Schema. It may be asynchronous: what comes meanwhile
// waits behind it, because the order in which messages arrive is a promise.
import { isThenable } from "../task/task.ts";
import { InvalidMessageError } from "./errors.ts";
import type { StandardIssue, StandardResult, StandardSchemaV1 } from "./standard-schema.ts";

/** @internal */
export interface Validated {
  readonly value?: unknown;
  readonly error?: unknown;
}

/** @internal */
export class Validation {
  readonly #schema: StandardSchemaV1;
  /** Called when one that took its time is through */
  readonly #onThrough: () => void;
  #line: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(schema: StandardSchemaV1, onThrough: () => void) {
    this.#schema = schema;
    this.#onThrough = onThrough;
  }

  /** How many are being validated, or wait behind one that is. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Validates at once, for a sender that does not wait. */
  now(message: unknown): unknown {
    const result = this.#validate(message);
    if (isThenable(result)) {
      Promise.resolve(result).catch(() => {});
      throw new TypeError(
        "Cannot trySend: the schema validates asynchronously; use send, which waits for it",
      );
    }
    const { value, error } = judged(result as StandardResult<unknown>);
    if (error !== undefined) throw error as Error;
    return value;
  }

  send(message: unknown, then: (valid: unknown) => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.run(message, ({ value, error }) => {
        if (error === undefined) then(value).then(resolve, reject);
        else reject(error as Error);
      });
    });
  }

  run(message: unknown, then: (result: Validated) => void): void {
    let result: StandardResult<unknown> | PromiseLike<StandardResult<unknown>>;
    try {
      result = this.#validate(message);
    } catch (error) {
      result = Promise.reject(error as Error);
    }
    if (!isThenable(result) && this.#waiting === 0) {
      then(judged(result as StandardResult<unknown>));
      return;
    }
    const judging = Promise.resolve(result).then(judged, (error: unknown) => ({ error }));
    this.#enqueue(async () => then(await judging));
  }

  after(then: () => void): void {
    if (this.#waiting === 0) then();
    else this.#enqueue(then);
  }

  #enqueue(work: () => void | Promise<void>): void {
    this.#waiting++;
    this.#line = this.#line.then(work).finally(() => {
      this.#waiting--;
      this.#onThrough();
    });
  }

  #validate(message: unknown): StandardResult<unknown> | Promise<StandardResult<unknown>> {
    return this.#schema["~standard"].validate(message);
  }
}

function judged(result: StandardResult<unknown>): Validated {
  if (result.issues === undefined) return { value: result.value };
  const text = result.issues.map(issueText).join("; ");
  const error = new InvalidMessageError(
    `Cannot route a message: it does not fit the schema: ${text}`,
    {
      cause: result.issues,
    },
  );
  return { error };
}

function issueText({ message, path }: StandardIssue): string {
  if (path === undefined || path.length === 0) return message;
  const names = path.map((part) => String(typeof part === "object" ? part.key : part));
  return `${names.join(".")}: ${message}`;
}
