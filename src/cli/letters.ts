// What the command does with messages that were given up: it counts them, keeps
// the first few to show, and writes them to a file if it was given one.
import type { DeadLetter, DeadLetterReason } from "../message/delivery.ts";
import type { Sink } from "../message/source.ts";
import { messageOf } from "./usage-error.ts";

/** How many letters the summary shows when they were not kept. */
const shownLetters = 3;

/** A dead letter as it stands in the file. */
export interface LetterLine {
  /** The number of the input's line, or `id`, the source's own name for the message */
  readonly line?: number;
  readonly id?: string;
  readonly reason: DeadLetterReason;
  readonly error: string;
  readonly key: string | number | null;
  readonly attempts: number;
  /** ISO 8601 */
  readonly at: string;
  readonly message: unknown;
}

export class Letters {
  readonly #fromLines: boolean;
  readonly #sink: Sink<LetterLine> | undefined;
  readonly #byReason = new Map<DeadLetterReason, number>();
  readonly #first: LetterLine[] = [];
  #count = 0;

  /** @param fromLines Whether a delivery's `id` is the number of a line */
  constructor(fromLines: boolean, sink: Sink<LetterLine> | undefined) {
    this.#fromLines = fromLines;
    this.#sink = sink;
  }

  get count(): number {
    return this.#count;
  }

  get byReason(): Readonly<Partial<Record<DeadLetterReason, number>>> {
    return Object.fromEntries(this.#byReason);
  }

  /** The first few, as one line of text each. */
  get shown(): readonly string[] {
    return this.#first.map(({ line, id, reason, error }) => {
      const where = line === undefined ? (id === undefined ? "" : `${id}: `) : `line ${line}: `;
      // "Cannot read line 17: …" says where by itself.
      return error.includes(`line ${line}:`)
        ? `${reason}: ${error}`
        : `${where}${reason}: ${error}`;
    });
  }

  /** Resolves when the letter is written, or has room to be. */
  take(letter: DeadLetter): void | Promise<void> {
    this.#count += 1;
    this.#byReason.set(letter.reason, (this.#byReason.get(letter.reason) ?? 0) + 1);
    if (this.#sink === undefined && this.#first.length === shownLetters) return undefined;
    const line = letterLine(letter, this.#fromLines);
    if (this.#first.length < shownLetters) this.#first.push(line);
    return this.#sink?.write(line);
  }
}

function letterLine(letter: DeadLetter, fromLines: boolean): LetterLine {
  const { delivery, reason, error, key, attempts, at, message } = letter;
  const where =
    delivery === undefined ? {} : fromLines ? { line: Number(delivery.id) } : { id: delivery.id };
  return {
    ...where,
    reason,
    error: messageOf(error),
    key: key ?? null,
    attempts,
    at: new Date(at).toISOString(),
    message: writable(message),
  };
}

/** A message that JSON cannot say is written as text: better than losing the letter. */
function writable(message: unknown): unknown {
  try {
    return JSON.stringify(message) === undefined ? String(message) : message;
  } catch {
    return String(message);
  }
}
