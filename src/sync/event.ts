// Something has happened: a flag that can be waited for.
import { currentScope } from "../task/scope.ts";
import { refusal, suspend, type WaitKind, type WaitOptions } from "../task/wait.ts";
import { WaitLine } from "./wait-line.ts";

const settled: Promise<void> = Promise.resolve();

// Set inside the class, which alone can see the line.
let eventWait: WaitKind;

/**
 * A flag that is set once for everybody who waits for it, and stays set until it is cleared.
 *
 * @example
 * ```ts
 * import { createTask, Event } from "heddle";
 * import assert from "node:assert/strict";
 *
 * const opened = new Event();
 * const visitor = createTask(async () => {
 *   await opened.wait();
 *   return "came in";
 * });
 * opened.set();
 * assert.equal(await visitor, "came in");
 * ```
 */
export class Event {
  #set = false;
  readonly #line: WaitLine = new WaitLine();

  /** Whether it is set. */
  isSet(): boolean {
    return this.#set;
  }

  /** Sets it, and lets everybody who waits go on, in the order in which they came. */
  set(): void {
    this.#set = true;
    // Also when clear() follows at once: who waits was served here, and need not look again.
    for (let wait = this.#line.shift<void>(); wait !== undefined; wait = this.#line.shift<void>()) {
      wait.resolve(undefined);
    }
  }

  /** Takes it back: who comes from now on waits for the next `set()`. */
  clear(): void {
    this.#set = false;
  }

  /**
   * Waits until it is set; at once when it is.
   *
   * @throws {CancelledError} If the task is cancelled while it waits, or was before
   * @throws the reason of `signal`, if that is aborted
   *
   * @remarks
   * **When cancelled:** nothing is left behind. When it was set before the
   * cancellation came, the wait ends as usual, and the cancellation is thrown
   * at the task's next wait.
   */
  wait(options?: WaitOptions): Promise<void> {
    const scope = currentScope();
    const refused = refusal(scope, options);
    if (refused !== undefined) return Promise.reject(refused as Error);
    if (this.#set) return settled;
    const wait = suspend<void>(eventWait, this, scope, options);
    this.#line.push(wait);
    return wait.promise;
  }

  /** `<Event set>`, `<Event unset waiting=2>` */
  toString(): string {
    const waiting = this.#line.length === 0 ? "" : ` waiting=${this.#line.length}`;
    return `<${this.constructor.name} ${this.#set ? "set" : "unset"}${waiting}>`;
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for("nodejs.util.inspect.custom"), {
      value: this.prototype.toString,
    });
    eventWait = {
      name: "Event.wait",
      withdraw: (wait) => (wait.target as Event).#line.remove(wait),
    };
  }
}
