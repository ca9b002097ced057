// The chats of an agent: one session per chat, in loop style.
//
// The loop does nothing but receive. What takes time is a turn, and a turn is a
// child task of the session: so a message that comes meanwhile can interrupt it,
// and an approval can reach it.
import { Queue, wait, type Task } from "heddle";
import { SessionRouter } from "heddle/session";
import type { ClientEvent, Message, ServerEvent } from "./protocol.ts";
import { takeTurn, type Approval, type Model, type Tools } from "./turn.ts";

/** What a session is told: what its client sends, and that there is a new line to it. */
export type ChatEvent = { readonly chat: string } & (
  | ClientEvent
  | { readonly type: "connected"; readonly line: Line }
);

/** The way to a client: a socket, or what a test has in its place. */
export interface Line {
  /** Does nothing when the line is closed */
  send(event: ServerEvent): void;
  close(): void;
  /** Resolves when it is closed, by whichever side */
  readonly closed: Promise<void>;
}

/** Where chats are kept while they have no session. */
export interface Histories {
  /** @returns an empty list for a chat that it does not know */
  load(chat: string): Promise<Message[]>;
  save(chat: string, messages: readonly Message[]): Promise<void>;
}

export interface ChatOptions {
  readonly model: Model;
  readonly tools: Tools;
  readonly histories: Histories;
}

export type ChatRouter = SessionRouter<ChatEvent, string, Message[]>;

export function chatRouter({ model, tools, histories }: ChatOptions): ChatRouter {
  return new SessionRouter({
    key: (event: ChatEvent) => event.chat,
    starts: (event) => event.type === "connected",
    ends: (event) => event.type === "bye",
    // Counted from when the line has dropped and no turn runs: time to connect again.
    idleMs: 30_000,
    state: (chat) => histories.load(chat),
    // A chat that could not be opened: its client is not left waiting.
    deadLetter: ({ message }) => {
      if (message.type === "connected") message.line.close();
    },

    async session(chat) {
      const history = chat.state;
      const approvals = new Queue<Approval>();
      let line: Line | undefined;
      let turn: Task<void> | undefined;
      const send = (event: ServerEvent): void => line?.send(event);

      try {
        for await (const event of chat) {
          switch (event.type) {
            case "connected":
              // Also when the old line seems to be up: its client knows better.
              line?.close();
              line = event.line;
              void chat.keepAlive(line.closed);
              send({ type: "history", messages: history });
              break;
            case "user":
              await stop(turn);
              history.push({ role: "user", text: event.text });
              turn = chat.createTask(() => takeTurn({ history, approvals, send, model, tools }));
              break;
            case "approval":
              if (history.some((message) => isAsking(message, event.call)))
                approvals.putNowait(event);
              break;
            case "bye":
              break;
          }
        }
      } finally {
        // However it ends: by a "bye", after 30 s without a line, or because the server stops.
        line?.close();
        try {
          await stop(turn);
        } finally {
          await histories.save(chat.key, history);
        }
      }
    },
  });
}

function isAsking(message: Message, call: string): boolean {
  return message.role === "tool" && message.call === call && message.state === "asking";
}

/** Returns when the turn has really stopped, so that two never write into one history. */
async function stop(turn: Task<void> | undefined): Promise<void> {
  if (turn === undefined) return;
  turn.cancel();
  await wait([turn]);
}
