// What goes over the line, as JSON, and what a chat's history is made of.

export type Message = UserMessage | AgentMessage | ToolMessage;

export interface UserMessage {
  readonly role: "user";
  readonly text: string;
}

export interface AgentMessage {
  readonly role: "agent";
  /** Grows while it is being written */
  text: string;
  state: "writing" | "done" | "interrupted";
}

export interface ToolMessage {
  readonly role: "tool";
  /** Which call: approvals name it */
  readonly call: string;
  readonly tool: string;
  readonly input: string;
  state: "waiting" | "asking" | "running" | "done" | "denied" | "failed" | "interrupted";
  /** Once it is done, or why it has failed */
  result?: string;
}

/** What a client sends. */
export type ClientEvent =
  | { readonly type: "user"; readonly text: string }
  | { readonly type: "approval"; readonly call: string; readonly granted: boolean }
  | { readonly type: "bye" };

/** What a client is sent. */
export type ServerEvent =
  /** On every connection, so that nothing is lost between two of them */
  | { readonly type: "history"; readonly messages: readonly Message[] }
  | { readonly type: "token"; readonly text: string }
  | { readonly type: "tool"; readonly message: ToolMessage }
  /** The turn is over; it is not complete when it was interrupted or has failed */
  | { readonly type: "turnOver"; readonly complete: boolean };

/** @returns `undefined` when it is none */
export function parseClientEvent(text: string): ClientEvent | undefined {
  let event: Readonly<Record<string, unknown>>;
  try {
    event = Object(JSON.parse(text)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (event["type"] === "bye") return { type: "bye" };
  if (event["type"] === "user" && typeof event["text"] === "string") {
    return { type: "user", text: event["text"] };
  }
  if (
    event["type"] === "approval" &&
    typeof event["call"] === "string" &&
    typeof event["granted"] === "boolean"
  ) {
    return { type: "approval", call: event["call"], granted: event["granted"] };
  }
  return undefined;
}
