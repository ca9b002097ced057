// A conversation with everything in it: a turn of several tool calls, an approval,
// a line that drops in the middle, and a user who interrupts.
import { ChatClient } from "./client.ts";
import type { ServerEvent } from "./protocol.ts";

/** @param write Is given what a terminal would show */
export async function playScript(url: string, write: (text: string) => void): Promise<void> {
  const transcript = new Transcript(write);
  const say = (client: ChatClient, text: string): void => {
    transcript.line("user", text);
    client.send({ type: "user", text });
  };

  const before = await ChatClient.connect(url, "trip", transcript.event);
  say(before, "Please book me a train to Bergen on a dry day.");
  const { message } = await before.until("tool", (event) => event.message.state === "asking");
  transcript.line("", "(the line drops, and the client connects again)");
  before.drop();

  const client = await ChatClient.connect(url, "trip", transcript.event);
  transcript.line("user", "Yes, book it.");
  client.send({ type: "approval", call: message.call, granted: true });
  await client.until("turnOver");

  say(client, "Tell me about Bergen.");
  await client.until("token", ({ text }) => text.startsWith("mountains"));
  say(client, "Enough, thank you.");
  await client.until("turnOver", ({ complete }) => complete);

  client.send({ type: "bye" });
  await client.closed;
  transcript.end();
}

class Transcript {
  readonly #write: (text: string) => void;
  #midLine = false;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  line(who: string, text: string): void {
    this.end();
    this.#write(`${who.padEnd(7)}${text}\n`);
  }

  end(): void {
    if (this.#midLine) this.#write("\n");
    this.#midLine = false;
  }

  readonly event = (event: ServerEvent): void => {
    switch (event.type) {
      case "history":
        this.line("", `(connected; messages so far: ${event.messages.length})`);
        break;
      case "token":
        this.#write(this.#midLine ? event.text : `${"agent".padEnd(7)}${event.text}`);
        this.#midLine = true;
        break;
      case "tool": {
        const { tool, input, state, result } = event.message;
        this.line("", `${tool}(${input}) ${state}${result === undefined ? "" : `: ${result}`}`);
        break;
      }
      case "turnOver":
        if (event.complete) this.end();
        else this.line("", "(interrupted)");
        break;
    }
  };
}
