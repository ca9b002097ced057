// What a module for `heddle run` default-exports.
import type { Consumable } from "../message/iterable.ts";
import type { Key } from "../message/delivery.ts";
import type { Sink } from "../message/source.ts";
import type { SessionRouterOptions } from "./options.ts";
import { routerSettings } from "./settings.ts";

/** A router's options, and where its messages come from and go to when `heddle run` runs it. */
export type SessionsDefinition<
  M = unknown,
  K extends Key = Key,
  S = undefined,
  R = unknown,
> = SessionRouterOptions<M, K, S, R> & {
  /**
   * Makes a message of a line of text; `undefined` skips the line. What it
   * throws makes the line a dead letter with its number.
   *
   * @default JSON.parse
   */
  readonly parse?: ((line: string) => M | undefined) | undefined;
  /** Where messages come from. @default the file or the standard input */
  readonly source?: Consumable<M> | undefined;
  /** Where outputs go. @default the standard output, a line of JSON each */
  readonly sink?: Sink<R> | undefined;
};

/**
 * Defines sessions for `heddle run`, with the types of a router's options.
 *
 * @throws {TypeError} or {RangeError} as `new SessionRouter` does
 *
 * @example
 * ```ts
 * import { defineSessions } from "heddle/session";
 * import assert from "node:assert/strict";
 *
 * const visits = defineSessions({
 *   key: (hit: { user: string; page: string }) => hit.user,
 *   idleMs: 30_000,
 *   async session(visit) {
 *     const pages: string[] = [];
 *     for await (const hit of visit) pages.push(hit.page);
 *     return { user: visit.key, pages };
 *   },
 * });
 * assert.equal(visits.idleMs, 30_000);
 * ```
 */
export function defineSessions<M, K extends Key = Key, S = undefined, R = unknown>(
  definition: SessionsDefinition<M, K, S, R>,
): SessionsDefinition<M, K, S, R> {
  const { parse, source, sink, ...options } = definition;
  void source;
  void sink;
  if (parse !== undefined && typeof parse !== "function") {
    throw new TypeError(
      `Cannot define sessions: parse must be a function, current value is ${String(parse)}`,
    );
  }
  routerSettings(options as unknown as SessionRouterOptions<M, K, S, R>);
  return definition;
}
