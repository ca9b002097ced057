// A client of the chats, for the script and the tests.
import { once } from "node:events";
import { Queue } from "heddle";
import { WebSocket, type RawData } from "ws";
import type { ClientEvent, ServerEvent } from "./protocol.ts";

type EventOf<T extends ServerEvent["type"]> = Extract<ServerEvent, { readonly type: T }>;

export class ChatClient {
  readonly #socket: WebSocket;
  readonly #events = new Queue<ServerEvent>();
  /** Resolves with the code that the line was closed with */
  readonly closed: Promise<number>;

  private constructor(socket: WebSocket, see: (event: ServerEvent) => void) {
    this.#socket = socket;
    socket.on("message", (data: RawData) => {
      const event = JSON.parse((data as Buffer).toString()) as ServerEvent;
      see(event);
      this.#events.putNowait(event);
    });
    this.closed = once(socket, "close").then(([code]) => code as number);
    void this.closed.then(() => this.#events.shutdown());
  }

  /**
   * @param url As `ChatServer.url`
   * @param see Is shown every event as it comes
   */
  static async connect(
    url: string,
    chat: string,
    see: (event: ServerEvent) => void = () => {},
  ): Promise<ChatClient> {
    const socket = new WebSocket(`${url}/chats/${chat}`);
    // It listens before the socket is open: the first event may come with the opening.
    const client = new ChatClient(socket, see);
    await once(socket, "open");
    return client;
  }

  send(event: ClientEvent): void {
    this.#socket.send(JSON.stringify(event));
  }

  /** For what a client should not send. */
  sendText(text: string): void {
    this.#socket.send(text);
  }

  /** As when a phone goes into a tunnel: without a word. */
  drop(): void {
    this.#socket.terminate();
  }

  /**
   * Waits for the next event of a type that `isIt`, and passes over those before it.
   *
   * @throws {QueueShutDown} If the line is closed before it comes
   */
  async until<T extends ServerEvent["type"]>(
    type: T,
    isIt: (event: EventOf<T>) => boolean = () => true,
  ): Promise<EventOf<T>> {
    for (;;) {
      const event = await this.#events.get();
      if (event.type === type && isIt(event as EventOf<T>)) return event as EventOf<T>;
    }
  }
}
