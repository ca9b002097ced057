// A model and tools that need no network: what they say is in this file, and they
// take their time on heddle's clock, so that a test can hold it.
import { sleep } from "heddle";
import type { Histories } from "./chat.ts";
import type { Message } from "./protocol.ts";
import type { Model, Tools } from "./turn.ts";

/** @param tokenMs How long a token takes */
export function fakeModel(tokenMs: number): Model {
  return async function* (history) {
    const { text, uses = [] } = replyTo(history.at(-1));
    for (const token of text.split(/(?<= )/)) {
      await sleep(tokenMs);
      yield { type: "token", text: token };
    }
    for (const [n, [tool, input]] of uses.entries()) {
      // A history only grows, so no call of a chat has the name of another.
      yield { type: "call", call: `${history.length}-${n}`, tool, input };
    }
  };
}

interface Reply {
  readonly text: string;
  readonly uses?: readonly (readonly [tool: string, input: string])[];
}

function replyTo(last: Message | undefined): Reply {
  if (last?.role === "user" && /\bbook\b/.test(last.text)) {
    return {
      text: "I look at the weather and at the trains first.",
      uses: [
        ["forecast", "Bergen"],
        ["trains", "Oslo to Bergen, Saturday"],
        ["book", "Oslo 08:25, window seat"],
      ],
    };
  }
  if (last?.role === "user" && /\btell\b/i.test(last.text)) {
    return {
      text:
        "Bergen lies between seven mountains, and it rains there on two days of three. " +
        "Its old wharf was built by merchants of the Hanseatic League, who dried cod and kept accounts.",
    };
  }
  if (last?.role === "tool" && last.state === "done") {
    return { text: `Saturday is dry, so it is done: ${last.result}.` };
  }
  if (last?.role === "tool") return { text: "All right, I have booked nothing." };
  return { text: "You are welcome." };
}

/** @param toolMs How long a call takes */
export function fakeTools(toolMs: number): Tools {
  const giving = (result: string) => async (): Promise<string> => await sleep(toolMs, result);
  return {
    forecast: { use: giving("Friday rain, Saturday dry, Sunday rain") },
    trains: { use: giving("08:25 and 12:03") },
    book: { asks: true, use: giving("seat 14 in coach 5, 08:25") },
  };
}

/** Keeps histories in this process, as copies. */
export function memoryHistories(): Histories {
  const kept = new Map<string, readonly Message[]>();
  return {
    async load(chat) {
      return structuredClone([...(kept.get(chat) ?? [])]);
    },
    async save(chat, messages) {
      kept.set(chat, structuredClone(messages));
    },
  };
}
