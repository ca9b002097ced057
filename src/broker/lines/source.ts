// Lines of a file or a stream as messages. Reading stops where the credit
// stops, so that a file of any size runs in the memory of a few chunks.
import type { Readable } from "node:stream";
import { nextTurn, turnMs } from "../../task/clock.ts";
import type { Delivery, Key } from "../../message/delivery.ts";
import type { Capabilities, Source, SourceConnection, SourceHost } from "../../message/source.ts";
import { openBytes, type ByteReader } from "./bytes.ts";
import { systemError } from "./errors.ts";
import { LineSplitter, tooLong, unsliced } from "./split.ts";

export interface LinesSourceOptions<M = unknown> {
  /** A path, a stream of bytes or text, or `"-"` for standard input */
  readonly input: string | Readable;
  /** For messages and statistics. @default "lines:" and the path's last part */
  readonly name?: string | undefined;
  /**
   * Makes a message of a line. `undefined` skips the line, which is counted; a
   * throw makes it an invalid message.
   *
   * @default JSON.parse
   */
  readonly parse?: ((line: string) => M | undefined) | undefined;
  /** The length of line, in bytes, beyond which it is invalid and not kept. @default 16 MiB */
  readonly maxLineBytes?: number | undefined;
}

/** How far a {@link LinesSource} has come. */
export interface LinesProgress {
  /** Bytes read, of `totalBytes` where that is known */
  readonly bytes: number;
  readonly totalBytes: number | undefined;
  /** Lines read, blank ones too */
  readonly lines: number;
  /** Lines delivered as messages, invalid ones too */
  readonly messages: number;
  /** Lines of which no message could be made */
  readonly invalid: number;
  /** Lines that `parse` made no message of */
  readonly skipped: number;
}

/** A {@link Source} that tells how far it has come. */
export interface LinesSource<M> extends Source<M> {
  progress(): LinesProgress;
}

const mebibyte = 1_024 * 1_024;

/**
 * Makes a source of the lines of a file, a stream or standard input: JSON, one
 * message a line, or text with `parse`.
 *
 * Blank lines are passed over, and so is a byte order mark; lines end with
 * `\n` or `\r\n`. A line of which no message can be made is delivered as
 * invalid, with its number; reading goes on. A delivery's `id` is its line's
 * number. Nothing is kept: what is released comes again when the input is read
 * again.
 *
 * @throws {RangeError} If `maxLineBytes` is not a whole number of at least 1
 *
 * @example Route the lines of a file
 * ```ts
 * import { linesSource } from "heddle/lines";
 *
 * const source = linesSource({ input: "access.log", parse: (line) => line.split(" ") });
 * // await router.consume(source);
 * ```
 */
export function linesSource<M = unknown>(options: LinesSourceOptions<M>): LinesSource<M> {
  const { input, parse, maxLineBytes = 16 * mebibyte } = options;
  if (!Number.isInteger(maxLineBytes) || maxLineBytes < 1) {
    throw new RangeError(
      `Cannot make a source of lines: maxLineBytes must be a whole number >= 1, current value is ${maxLineBytes}`,
    );
  }
  const name = options.name ?? nameOf(input);
  return new Lines({ input, name, parse, maxLineBytes });
}

function nameOf(input: string | Readable): string {
  if (typeof input !== "string") return "lines:stream";
  if (input === "-") return "lines:stdin";
  return `lines:${input.slice(Math.max(input.lastIndexOf("/"), input.lastIndexOf("\\")) + 1)}`;
}

interface LinesSettings<M> {
  readonly input: string | Readable;
  readonly name: string;
  readonly parse: ((line: string) => M | undefined) | undefined;
  readonly maxLineBytes: number;
}

const capabilities: Capabilities = Object.freeze({
  partitions: false,
  credit: "source",
  durable: false,
  deadLetters: false,
});

const noHeaders: Readonly<Record<string, string>> = Object.freeze({});

/** How long timers, sockets and signals may be kept waiting, in milliseconds. */
const longestTurnMs = 5;

class Lines<M> implements LinesSource<M> {
  readonly name: string;
  readonly capabilities: Capabilities = capabilities;
  readonly #settings: LinesSettings<M>;
  #last: LinesConnection<M> | undefined;

  constructor(settings: LinesSettings<M>) {
    this.name = settings.name;
    this.#settings = settings;
  }

  progress(): LinesProgress {
    return this.#last?.progress() ?? nothingYet;
  }

  async open(host: SourceHost<M>): Promise<SourceConnection> {
    const { input, name } = this.#settings;
    if (this.#last !== undefined && (input === "-" || typeof input !== "string")) {
      throw new Error(`Cannot open ${name}: it can be read only once`);
    }
    const label = typeof input === "string" && input !== "-" ? input : name;
    const bytes = await openBytes(input, label);
    this.#last = new LinesConnection(this.#settings, label, bytes, host);
    return this.#last;
  }
}

const nothingYet: LinesProgress = Object.freeze({
  bytes: 0,
  totalBytes: undefined,
  lines: 0,
  messages: 0,
  invalid: 0,
  skipped: 0,
});

class LinesConnection<M> implements SourceConnection {
  readonly #settings: LinesSettings<M>;
  readonly #label: string;
  readonly #host: SourceHost<M>;
  readonly #reader: ByteReader;
  readonly #splitter: LineSplitter;
  #state: "open" | "ended" | "closed" = "open";
  #credit = 0;
  #wake: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  #bytes = 0;
  #lines = 0;
  #messages = 0;
  #invalid = 0;
  #skipped = 0;

  constructor(settings: LinesSettings<M>, label: string, reader: ByteReader, host: SourceHost<M>) {
    this.#settings = settings;
    this.#label = label;
    this.#reader = reader;
    this.#host = host;
    // What JSON.parse makes of a slice shares nothing with it; what a user's
    // parse makes may well be a slice of the slice.
    this.#splitter = new LineSplitter(settings.parse === undefined, settings.maxLineBytes);
    void this.#run();
  }

  progress(): LinesProgress {
    return Object.freeze({
      bytes: this.#bytes,
      totalBytes: this.#reader.size,
      lines: this.#lines,
      messages: this.#messages,
      invalid: this.#invalid,
      skipped: this.#skipped,
    });
  }

  request(count: number): void {
    this.#credit += count;
    this.#wakeUp();
  }

  close(wait?: Promise<void>): Promise<void> {
    this.#closed ??= this.#close(wait);
    return this.#closed;
  }

  async #close(wait: Promise<void> | undefined): Promise<void> {
    this.#state = "closed";
    this.#wakeUp();
    await this.#reader.close();
    await wait;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #creditGiven(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #run(): Promise<void> {
    try {
      // Nothing is read, and nothing delivered, before it is asked for.
      await this.#creditGiven();
      while (this.#state === "open") {
        const chunk = await this.#reader.next();
        if (this.#state !== "open") return;
        if (chunk === undefined) break;
        this.#splitter.take(chunk);
        await this.#deliverLines();
        this.#bytes += chunk.length;
      }
      this.#splitter.end();
      await this.#deliverLines();
      if (this.#state !== "open") return;
      this.#state = "ended";
      this.#host.ended();
    } catch (error) {
      if (this.#state !== "open") return;
      this.#state = "ended";
      this.#host.failed(systemError(`Cannot read ${this.#label}`, error));
    }
  }

  async #deliverLines(): Promise<void> {
    const splitter = this.#splitter;
    for (;;) {
      const line = splitter.next();
      if (line === undefined) return;
      const number = ++this.#lines;
      const delivery = line === tooLong ? this.#refuseLong(number) : this.#read(line, number);
      if (delivery !== undefined) {
        // Waited for only now, with a line in hand: the end of the input is
        // seen, and said, without credit for a line that is not there.
        while (this.#credit < 1) {
          await this.#creditGiven();
          if (this.#state !== "open") return;
        }
        this.#credit -= 1;
        this.#messages += 1;
        this.#host.deliver(delivery);
      }
      if (this.#state !== "open") return;
      if ((number & 0xff) === 0 && turnMs() > longestTurnMs) await new Promise<void>(nextTurn);
    }
  }

  #read(line: string, number: number): LineDelivery<M> | undefined {
    if (number === 1 && line.charCodeAt(0) === 0xfeff) line = line.slice(1);
    if (isBlank(line)) return undefined;
    const { parse, name } = this.#settings;
    if (parse === undefined) {
      try {
        // What JSON gives is what the module's author says it is; `schema` checks.
        return new LineDelivery(JSON.parse(line) as M, number, name, undefined);
      } catch (error) {
        // JSON.parse counts lines as well, and has seen only one.
        const why = messageOf(error).replace(/ \(line 1 column \d+\)$/, "");
        return this.#refuse(unsliced(line), number, `not JSON (${why})`, error);
      }
    }
    try {
      const message = parse(line);
      if (message === undefined) {
        this.#skipped += 1;
        return undefined;
      }
      return new LineDelivery(message, number, name, undefined);
    } catch (error) {
      return this.#refuse(line, number, messageOf(error), error);
    }
  }

  #refuseLong(number: number): LineDelivery<M> {
    const { maxLineBytes } = this.#settings;
    const why = `it is longer than ${maxLineBytes} bytes`;
    return this.#refuse(this.#splitter.beginning, number, why, undefined);
  }

  #refuse(line: string, number: number, why: string, cause: unknown): LineDelivery<M> {
    this.#invalid += 1;
    const error = new Error(
      `Cannot read line ${number}: ${why}`,
      cause === undefined ? undefined : { cause },
    );
    // An invalid delivery's message is what was read, whatever the others are.
    return new LineDelivery(line as M, number, this.#settings.name, error);
  }
}

function isBlank(line: string): boolean {
  return line.length === 0 || (line.charCodeAt(0) <= 32 && line.trim() === "");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

class LineDelivery<M> implements Delivery<M> {
  readonly message: M;
  readonly invalid: Error | undefined;
  readonly #number: number;
  readonly #source: string;

  constructor(message: M, number: number, source: string, invalid: Error | undefined) {
    this.message = message;
    this.invalid = invalid;
    this.#number = number;
    this.#source = source;
  }

  get key(): Key | undefined {
    return undefined;
  }
  get id(): string {
    return String(this.#number);
  }
  get attempt(): number {
    return 1;
  }
  get partition(): string {
    return "";
  }
  get headers(): Readonly<Record<string, string>> {
    return noHeaders;
  }
  get idempotencyKey(): string {
    return `${this.#source}:${this.#number}`;
  }
  get redelivered(): boolean {
    return false;
  }

  // Nothing is kept of a line, so there is nothing to be done.
  settle(): void {}
}
