// What a sender or a caller may want to catch.
import type { Key } from "../message/delivery.ts";

/** With `overflow: "reject"`: the session's inbox has no room. */
export class InboxFullError extends Error {
  override readonly name = "InboxFullError";
  readonly code = "HEDDLE_INBOX_FULL";
  /** Whose inbox is full */
  readonly key: Key;

  constructor(key: Key, size: number, options?: ErrorOptions) {
    super(`Cannot send to key ${show(key)}: its inbox is full (${size} messages wait)`, options);
    this.key = key;
  }
}

/** A handler sent to its own key, or called it, and would have waited for itself. */
export class SelfSendError extends Error {
  override readonly name = "SelfSendError";
  readonly code = "HEDDLE_SELF_SEND";
  /** The key that would have waited for itself */
  readonly key: Key;

  constructor(key: Key, how: "send" | "call", options?: ErrorOptions) {
    super(
      how === "send"
        ? `Cannot send to key ${show(key)} from its own handler: its inbox is full`
        : `Cannot call key ${show(key)} from its own handler: it would wait for itself`,
      options,
    );
    this.key = key;
  }
}

/** The router drains, or is closed, and accepts nothing more. */
export class RouterClosedError extends Error {
  override readonly name = "RouterClosedError";
  readonly code = "HEDDLE_ROUTER_CLOSED";
}

/** A message, or what its `key`, `starts`, `ends`, `time` or schema said of it, cannot be routed. */
export class InvalidMessageError extends TypeError {
  override readonly name = "InvalidMessageError";
  readonly code = "HEDDLE_INVALID_MESSAGE";
}

/** A message that was not handled: what `call` rejects with, and the error of letters that no handler caused. */
export class NotHandledError extends Error {
  override readonly name = "NotHandledError";
  readonly code = "HEDDLE_NOT_HANDLED";
  readonly key: Key | undefined;
  /** What became of it instead */
  readonly outcome: NotHandled;

  constructor(key: Key | undefined, outcome: NotHandled, options?: ErrorOptions) {
    super(`Cannot handle a message of key ${show(key)}: ${explanations[outcome]}`, options);
    this.key = key;
    this.outcome = outcome;
  }
}

/** Why a message was not handled. */
export type NotHandled =
  | "late"
  | "cancelled"
  | "full"
  | "parked"
  | "drained"
  | "aborted"
  | "duplicateStart"
  | "exhausted"
  | "invalid"
  | "dropped"
  | "interrupted"
  | "released";

const explanations: Record<NotHandled, string> = {
  late: "it may not start a session and fits no live one",
  cancelled: "its session was cancelled",
  full: "the inbox was full",
  parked: "its key is parked and holds as many messages as it may",
  drained: "the router had to stop before its turn came",
  aborted: "it came after its source had been closed",
  duplicateStart: "it starts a session and its key has a live one",
  exhausted: "its tries are used up",
  invalid: "it is invalid",
  dropped: "the overflow policy dropped it",
  interrupted: "a later message interrupted it",
  released: "it was given back to its source",
};

/** @internal */
export function show(key: Key | undefined): string {
  return key === undefined ? "(none)" : JSON.stringify(key);
}
