// A turn of the agent: the model writes and asks for tools, until it has no more to ask.
//
// It may be cancelled wherever it waits, and needs no line of code for it but the
// `finally` that leaves the history in order.
import { rethrowIfCancelled, timeout, type Queue } from "heddle";
import type { AgentMessage, Message, ServerEvent, ToolMessage } from "./protocol.ts";

/** Streams its answer to a history. */
export type Model = (history: readonly Message[]) => AsyncIterable<ModelPart>;

export type ModelPart =
  | { readonly type: "token"; readonly text: string }
  | { readonly type: "call"; readonly call: string; readonly tool: string; readonly input: string };

export type Tools = Readonly<Record<string, Tool>>;

export interface Tool {
  /** Whether the user is asked before it is used */
  readonly asks?: boolean;
  use(input: string): Promise<string>;
}

export interface Approval {
  readonly call: string;
  readonly granted: boolean;
}

export interface Turn {
  /** Written to as the turn goes on: whoever connects meanwhile is sent all of it */
  readonly history: Message[];
  readonly approvals: Queue<Approval>;
  send(event: ServerEvent): void;
  readonly model: Model;
  readonly tools: Tools;
}

// A turn keeps its session alive, so it must not wait for ever for somebody who has gone.
const approvalMs = 5 * 60_000;

export async function takeTurn(turn: Turn): Promise<void> {
  const { history, send } = turn;
  const begin = history.length;
  let complete = false;
  try {
    let calls: readonly ToolMessage[];
    do {
      calls = await answer(turn);
      for (const call of calls) await useTool(call, turn);
    } while (calls.length > 0);
    complete = true;
  } finally {
    // A model that is shown a call without a result, or half a sentence, wants to know why.
    for (const message of history.slice(begin)) closeUnfinished(message);
    send({ type: "turnOver", complete });
  }
}

/** @returns the calls that the model asks for */
async function answer({ history, model, send }: Turn): Promise<ToolMessage[]> {
  const stream = model([...history]);
  const message: AgentMessage = { role: "agent", text: "", state: "writing" };
  const calls: ToolMessage[] = [];
  history.push(message);
  for await (const part of stream) {
    if (part.type === "token") {
      message.text += part.text;
      send(part);
    } else {
      const { call, tool, input } = part;
      calls.push({ role: "tool", call, tool, input, state: "waiting" });
    }
  }
  message.state = "done";
  history.push(...calls);
  return calls;
}

async function useTool(message: ToolMessage, { approvals, send, tools }: Turn): Promise<void> {
  const become = (state: ToolMessage["state"], result?: string): void => {
    message.state = state;
    if (result !== undefined) message.result = result;
    send({ type: "tool", message });
  };
  try {
    const tool = tools[message.tool];
    if (tool === undefined) throw new RangeError(`there is no tool "${message.tool}"`);
    if (tool.asks === true) {
      become("asking");
      if (!(await timeout(approvalMs, () => isGranted(message.call, approvals)))) {
        become("denied");
        return;
      }
    }
    become("running");
    become("done", await tool.use(message.input));
  } catch (error) {
    rethrowIfCancelled(error);
    // The model is told, and may try something else.
    become("failed", String(error));
  }
}

async function isGranted(call: string, approvals: Queue<Approval>): Promise<boolean> {
  for (;;) {
    const approval = await approvals.get();
    // Whoever presses the button twice has granted one call, not the next one too.
    if (approval.call === call) return approval.granted;
  }
}

function closeUnfinished(message: Message): void {
  if (message.role === "agent" && message.state === "writing") message.state = "interrupted";
  if (message.role === "tool" && ["waiting", "asking", "running"].includes(message.state)) {
    message.state = "interrupted";
  }
}
