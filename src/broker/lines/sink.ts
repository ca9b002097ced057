// Values as JSON lines. Lines are gathered and written in one piece, at the
// latest in the next turn of the event loop; whoever writes waits when the
// reader is slower, and not before.
//
// A path and standard output are written by descriptor: Node's own
// `process.stdout` blocks the whole process while the reader of a pipe is slow,
// so that no timer runs and no signal is heard.
import { close, open, write } from "node:fs";
import type { Writable } from "node:stream";
import { nextTurn, systemClock } from "../../task/clock.ts";
import type { Sink } from "../../message/source.ts";
import { codeOf, systemError } from "./errors.ts";

export interface LinesSinkOptions {
  /** A path, a stream, or `"-"` for standard output */
  readonly output: string | Writable;
  /** For messages. @default "lines:" and the path's last part */
  readonly name?: string | undefined;
  /** Add to a file that is there already, instead of writing it anew. @default false */
  readonly append?: boolean | undefined;
  /**
   * Told once when a write has failed and nothing more can be written: `code`
   * is `"EPIPE"` when the reader has gone. Every write fails with the same error.
   */
  readonly broken?: ((error: Error) => void) | undefined;
}

/** A {@link Sink} of JSON lines. */
export interface LinesSink<V> extends Sink<V> {
  /** Opens the file now, so that it is known whether it can be written; `write` does it otherwise. */
  open(): Promise<void>;
  /** Lines written so far, or waiting to be */
  readonly lines: number;
}

/** Characters that may wait to be written before `write` makes its caller wait. */
const highWater = 64 * 1_024;

/** How long to wait for a reader when a descriptor is in non-blocking mode, in milliseconds. */
const retryMs = 5;

/**
 * Makes a sink that writes one JSON line for each value.
 *
 * `write` fails with a `TypeError` for what JSON cannot say (`undefined`, a
 * function, a `bigint`), and with the system's error once the output is broken.
 */
export function linesSink<V = unknown>(options: LinesSinkOptions): LinesSink<V> {
  return new Lines(options);
}

/** Where bytes go; `write` resolves when there is room for more. */
interface ByteWriter {
  open(): Promise<void>;
  write(bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

class Lines<V> implements LinesSink<V> {
  readonly name: string;
  readonly #writer: ByteWriter;
  #broken: ((error: Error) => void) | undefined;
  #text = "";
  #lines = 0;
  #state: "open" | "broken" | "closed" = "open";
  #error: Error | undefined;
  #opened: Promise<void> | undefined;
  #flushing: Promise<void> | undefined;
  #scheduled = false;
  /** Resolves when what is waiting now has been written */
  #room: Promise<void> | undefined;

  constructor(options: LinesSinkOptions) {
    const { output, append = false } = options;
    this.name =
      options.name ??
      (typeof output !== "string" ? "lines:stream" : output === "-" ? "standard output" : output);
    this.#writer =
      typeof output === "string" ? new FileWriter(output, append) : new StreamWriter(output);
    this.#broken = options.broken;
  }

  get lines(): number {
    return this.#lines;
  }

  open(): Promise<void> {
    this.#opened ??= this.#writer.open().catch((error: unknown) => {
      throw this.#fail(error);
    });
    return this.#opened;
  }

  write(value: V): void | Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    if (this.#state === "closed") throw new Error(`Cannot write to ${this.name}: it is closed`);
    const line: string | undefined = JSON.stringify(value);
    if (line === undefined) {
      throw new TypeError(`Cannot write a value of type ${typeof value} as JSON`);
    }
    this.#text += `${line}\n`;
    this.#lines += 1;
    if (!this.#scheduled) {
      this.#scheduled = true;
      nextTurn(this.#flushSoon);
    }
    if (this.#text.length < highWater) return undefined;
    return this.#flush();
  }

  readonly #flushSoon = (): void => {
    this.#scheduled = false;
    // Whoever waits for room, or closes, hears of a failure; so does `broken`.
    this.#flush().catch(() => {});
  };

  /** Resolves when all that waits now is written. */
  #flush(): Promise<void> {
    this.#room ??= this.#writeNext();
    return this.#room;
  }

  async #writeNext(): Promise<void> {
    // One write at a time; what is gathered meanwhile goes with the next.
    await this.#flushing;
    this.#room = undefined;
    this.#flushing = this.#writeAll();
    await this.#flushing;
  }

  async #writeAll(): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    const text = this.#text;
    this.#text = "";
    if (text === "") return;
    try {
      await this.open();
      await this.#writer.write(Buffer.from(text));
    } catch (error) {
      const failure = this.#fail(error);
      this.#tellBroken(failure);
      throw failure;
    }
  }

  #fail(error: unknown): Error {
    if (this.#error !== undefined) return this.#error;
    this.#error = systemError(`Cannot write to ${this.name}`, error);
    this.#state = "broken";
    this.#text = "";
    return this.#error;
  }

  #tellBroken(error: Error): void {
    const broken = this.#broken;
    this.#broken = undefined;
    broken?.(error);
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    const broken = this.#state === "broken";
    if (!broken) {
      this.#state = "closed";
      await this.open();
      await this.#flush();
    }
    await this.#writer.close();
  }
}

class FileWriter implements ByteWriter {
  readonly #path: string;
  readonly #append: boolean;
  #fd: number | undefined;

  constructor(path: string, append: boolean) {
    this.#path = path;
    this.#append = append;
  }

  async open(): Promise<void> {
    if (this.#path === "-") {
      this.#fd = 1;
      return;
    }
    this.#fd = await new Promise<number>((resolve, reject) => {
      open(this.#path, this.#append ? "a" : "w", (error, fd) => {
        if (error === null) resolve(fd);
        else reject(error);
      });
    });
  }

  async write(bytes: Buffer): Promise<void> {
    let start = 0;
    while (start < bytes.length) start += await this.#writeSome(bytes, start);
  }

  /** @returns how many bytes were taken; 0 when the reader has no room and must be waited for */
  #writeSome(bytes: Buffer, start: number): Promise<number> {
    return new Promise((resolve, reject) => {
      write(this.#fd!, bytes, start, bytes.length - start, null, (error, count) => {
        if (error === null) resolve(count);
        else if (codeOf(error) === "EAGAIN") systemClock.wakeAfter(retryMs, () => resolve(0));
        else reject(error);
      });
    });
  }

  close(): Promise<void> {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd === undefined || fd === 1) return Promise.resolve();
    return new Promise((resolve, reject) => {
      close(fd, (error) => {
        if (error == null) resolve();
        else reject(error);
      });
    });
  }
}

class StreamWriter implements ByteWriter {
  readonly #stream: Writable;
  #error: Error | undefined;
  #waiting: ((error?: Error) => void) | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
  }

  open(): Promise<void> {
    this.#stream.on("error", (error) => {
      this.#error = error;
      this.#settle(error);
    });
    this.#stream.on("close", () => this.#settle(this.#error ?? gone()));
    return Promise.resolve();
  }

  write(bytes: Buffer): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#stream.destroyed) return Promise.reject(gone());
    return new Promise((resolve, reject) => {
      // Set first: a stream may call back, or fail, within `write`.
      this.#waiting = (error) => (error === undefined ? resolve() : reject(error));
      this.#stream.write(bytes, (error) => this.#settle(error ?? undefined));
    });
  }

  #settle(error: Error | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(error);
  }

  close(): Promise<void> {
    const stream = this.#stream;
    // Not ours to close: others write there too.
    if (stream === process.stdout || stream === process.stderr) return Promise.resolve();
    if (this.#error !== undefined || stream.destroyed) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting = (error) => (error === undefined ? resolve() : reject(error));
      stream.end(() => this.#settle(undefined));
    });
  }
}

function gone(): Error {
  return Object.assign(new Error("the stream was closed"), { code: "EPIPE" });
}
