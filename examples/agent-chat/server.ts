// Chats over WebSocket: `ws://…/chats/NAME`. A task per socket passes on what comes.
import { on, once } from "node:events";
import type { AddressInfo } from "node:net";
import { createTask, wait } from "heddle";
import { RouterClosedError } from "heddle/session";
import { WebSocketServer, type WebSocket } from "ws";
import type { ChatRouter, Line } from "./chat.ts";
import { parseClientEvent } from "./protocol.ts";

export interface ChatServer {
  /** `ws://127.0.0.1:PORT`; a chat is at `/chats/NAME` */
  readonly url: string;
  /** Ends every session, which keeps its history, and then the server. */
  close(): Promise<void>;
}

// Close codes of the protocol
const normal = 1000;
const goingAway = 1001;
const policyViolation = 1008;

/** @param port 0 takes a free one */
export async function serveChats(router: ChatRouter, port = 0): Promise<ChatServer> {
  const server = new WebSocketServer({ host: "127.0.0.1", port, maxPayload: 64 * 1024 });
  server.on("connection", (socket, request) => {
    // Whoever may speak in which chat is to be asked here, before anything is routed.
    const [, chat] = /^\/chats\/([\w-]+)$/.exec(request.url ?? "") ?? [];
    if (chat === undefined) socket.close(policyViolation, "the path is /chats/NAME");
    else createTask(() => serveSocket(router, chat, socket), { name: `socket of ${chat}` });
  });
  await once(server, "listening");
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `ws://127.0.0.1:${taken}`,
    async close() {
      await router.drain({ deadlineMs: 5_000 });
      // The sessions have closed their lines; whoever does not answer is cut off.
      const closing = createTask(() =>
        Promise.all([...server.clients].map((socket) => once(socket, "close"))),
      );
      await wait([closing], { timeoutMs: 1_000 });
      for (const socket of server.clients) socket.terminate();
      await closing;
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serveSocket(router: ChatRouter, chat: string, socket: WebSocket): Promise<void> {
  // What is wrong with a socket closes it, and that is all we have to know.
  socket.on("error", () => {});
  // Listens from the first moment on. While the session's inbox is full the socket is paused.
  const received = on(socket, "message", { close: ["close"], highWaterMark: 16, lowWaterMark: 4 });
  try {
    await router.send({ chat, type: "connected", line: lineTo(socket) });
    for await (const [data] of received as AsyncIterable<[Buffer]>) {
      const event = parseClientEvent(data.toString());
      if (event === undefined) {
        socket.close(policyViolation, "this is no message of a chat");
        return;
      }
      await router.send({ ...event, chat });
    }
  } catch (error) {
    if (!(error instanceof RouterClosedError)) throw error;
    socket.close(goingAway, "the server stops");
  }
}

function lineTo(socket: WebSocket): Line {
  return {
    send: (event) => socket.send(JSON.stringify(event)),
    close: () => socket.close(normal),
    closed: new Promise((resolve) => socket.once("close", () => resolve())),
  };
}
