// The public face of the main job: what users call. What it does is in
// `dispatcher.ts` and below.
import type { DeadLetter, Key } from "../message/delivery.ts";
import type { Consumable } from "../message/iterable.ts";
import type { WaitOptions } from "../task/wait.ts";
import { consume } from "./consume.ts";
import { Dispatcher } from "./dispatcher.ts";
import { drain } from "./drain.ts";
import { RouterClosedError } from "./errors.ts";
import type { DrainReport, RouterStatistics, Session, SessionRouterOptions } from "./options.ts";
import { routerSettings } from "./settings.ts";
import { statistics } from "./statistics.ts";
import { why } from "./why.ts";

/**
 * Routes keyed messages: one session per live key, order kept within a key,
 * everything torn down when the session ends.
 *
 * It starts nothing by itself: sessions begin with their first message, which
 * is sent (`send`, `trySend`, `call`) or consumed from a source (`consume`).
 * `drain` ends it; nothing is pending afterwards.
 *
 * @example Count what each user does, one task per user
 * ```ts
 * import { SessionRouter } from "heddle/session";
 * import assert from "node:assert/strict";
 *
 * const counts = new Map<string, number>();
 * const router = new SessionRouter({
 *   key: (event: { user: string; kind: string }) => event.user,
 *   ends: (event) => event.kind === "end",
 *   async session(session) {
 *     let count = 0;
 *     for await (const _event of session) count++;
 *     counts.set(session.key, count);
 *   },
 * });
 * await router.consume([
 *   { user: "ada", kind: "start" },
 *   { user: "bob", kind: "start" },
 *   { user: "ada", kind: "end" },
 * ]);
 * const report = await router.drain();
 * assert.equal(counts.get("ada"), 2);
 * assert.equal(counts.get("bob"), 1);
 * assert.equal(report.pending, 0);
 * ```
 */
export class SessionRouter<M = unknown, K extends Key = Key, S = undefined, R = unknown> {
  readonly #dispatcher: Dispatcher;
  #draining: Promise<DrainReport> | undefined;

  /**
   * @throws {TypeError} If an option is unknown or of the wrong kind, or none or both of the handlers are given
   * @throws {RangeError} If a number is out of its bounds
   */
  constructor(options: SessionRouterOptions<M, K, S, R>) {
    this.#dispatcher = new Dispatcher(routerSettings(options));
  }

  /**
   * Sends a message; resolves when there was room for it.
   *
   * @throws {InboxFullError} With `overflow: "reject"`, if the inbox is full
   * @throws {SelfSendError} If a handler sends to its own key and would wait for itself
   * @throws {RouterClosedError} If the router drains
   *
   * @remarks
   * **When cancelled:** a message that still waited for room was not accepted
   * and leaves the line; what was accepted stays accepted.
   */
  send(message: M, options?: WaitOptions): Promise<void> {
    return this.#dispatcher.send(message, options);
  }

  /**
   * Sends a message without waiting.
   *
   * @returns false when it was not accepted, because it would have to wait or
   * be rejected, or because the router is closed
   */
  trySend(message: M): boolean {
    return this.#dispatcher.trySend(message);
  }

  /**
   * Sends a message and waits until it is handled.
   *
   * @returns what the handler returned for it (message style)
   * @throws what dead-lettered it, or a `NotHandledError` that says that it was
   * dropped, interrupted or given back
   *
   * @remarks
   * **When cancelled:** a message that was accepted is handled all the same;
   * one that still waited for room leaves the line.
   */
  call(message: M, options?: WaitOptions): Promise<R | undefined> {
    return this.#dispatcher.call(message, options) as Promise<R | undefined>;
  }

  /**
   * Takes everything from a source, or from any iterable, and resolves when
   * it has ended and all that it gave is settled (or parked).
   *
   * @throws what the source failed with
   * @throws {RouterClosedError} If the router drains
   *
   * @remarks
   * **When cancelled:** nothing more is read. What was read is handled; a
   * source with partitions gets back what was not.
   */
  consume(source: Consumable<M>, options?: WaitOptions): Promise<void> {
    return consume(this.#dispatcher, source, options);
  }

  /**
   * Waits until all that was accepted is handled. What is parked does not hold
   * it up.
   *
   * @remarks
   * **When cancelled:** only the waiting ends.
   */
  join(options?: WaitOptions): Promise<void> {
    return this.#dispatcher.join(options);
  }

  /**
   * Ends the router: what is queued is handled, at the latest until the
   * deadline, then what still runs is cancelled and has `graceMs` to stop.
   * A second call gives the same promise.
   *
   * @param options.deadlineMs How long it may take, in milliseconds. Default `Infinity`
   * @throws {RangeError} If `deadlineMs` is not a number of 0 or more
   *
   * @remarks
   * **When cancelled:** it is no wait of a task and goes on.
   */
  drain(options: { readonly deadlineMs?: number | undefined } = {}): Promise<DrainReport> {
    const { deadlineMs = Infinity } = options;
    if (typeof deadlineMs !== "number" || !(deadlineMs >= 0)) {
      throw new RangeError(
        `Cannot drain: deadlineMs must be >= 0, current value is ${String(deadlineMs)}`,
      );
    }
    this.#draining ??= drain(this.#dispatcher, deadlineMs);
    return this.#draining;
  }

  /** Stops the session of `key` as cancelled; false when it has none. */
  cancel(key: K, reason?: unknown): boolean {
    const session = this.#dispatcher.sessions.get(key);
    return session !== undefined && this.#dispatcher.cancel(session, reason);
  }

  /** Lets a parked key go on: the message that failed is tried first, its attempts counted anew. False when it is not parked. */
  resume(key: K): boolean {
    return this.#dispatcher.resume(key);
  }

  /** The dead letters that are kept here (the last 1,000, where nothing else takes them), oldest first. */
  letters(): DeadLetter<M, K>[] {
    return this.#dispatcher.ledger.letters() as DeadLetter<M, K>[];
  }

  /**
   * Sends a dead letter's message again, and takes the letter out of those kept here.
   *
   * @throws as `send` does; the letter stays then
   */
  async replay(letter: DeadLetter<M, K>): Promise<void> {
    const { ledger, state } = this.#dispatcher;
    if (state !== "open") {
      throw new RouterClosedError("Cannot replay: the router is draining or closed");
    }
    const taken = ledger.takeLetter(letter as DeadLetter);
    try {
      await this.#dispatcher.send(letter.message);
    } catch (error) {
      if (taken) ledger.keepLetter(letter as DeadLetter);
      throw error;
    }
  }

  /** The live session of `key`. */
  session(key: K): Session<M, K, S> | undefined {
    const session = this.#dispatcher.sessions.get(key);
    return session !== undefined && session.isLive
      ? (session as unknown as Session<M, K, S>)
      : undefined;
  }

  /** The live sessions. */
  *sessions(): Generator<Session<M, K, S>> {
    for (const session of this.#dispatcher.sessions.values()) {
      if (session.isLive) yield session as unknown as Session<M, K, S>;
    }
  }

  /** A picture of the router at this moment. */
  statistics(): RouterStatistics<K> {
    return statistics(this.#dispatcher) as RouterStatistics<K>;
  }

  /** Plain words about a key: what its session does or waits for, and how the last one ended. */
  why(key: K): string {
    return why(this.#dispatcher, key);
  }

  /** Drains with the deadline `drainMs`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain({ deadlineMs: this.#dispatcher.settings.drainMs });
  }
}
