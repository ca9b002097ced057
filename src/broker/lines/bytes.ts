// Where bytes come from: a file, read ahead into two buffers that are used in
// turn, or a stream. A chunk is good until the next one is asked for.
import { close, createReadStream, fstatSync, open, read } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { isatty, ReadStream as TerminalStream } from "node:tty";
import { systemError } from "./errors.ts";

/** Bytes, chunk by chunk. */
export interface ByteReader {
  /** How many there are in all, where that is known */
  readonly size: number | undefined;
  /** The next chunk, or `undefined` at the end; never called before the last call has been answered */
  next(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

/** Large enough that a chunk's fixed costs vanish, small enough to stay in the processor's cache. */
const chunkBytes = 128 * 1_024;

/**
 * Opens what `input` names: a path, or `"-"` for standard input.
 *
 * @throws {Error} "Cannot read …", with the system's `code`
 */
export async function openBytes(input: string | Readable, name: string): Promise<ByteReader> {
  if (typeof input !== "string") return new StreamBytes(input);
  if (input === "-") {
    // A redirected file is read like any file; everything else may keep a read
    // waiting, and a waiting read of a file descriptor keeps the process alive.
    const stat = fstatSync(0);
    return stat.isFile() ? new FileBytes(0, stat.size) : new StreamBytes(process.stdin);
  }
  try {
    return bytesOf(await openFile(input), input);
  } catch (error) {
    throw systemError(`Cannot read ${name}`, error);
  }
}

function bytesOf(fd: number, path: string): ByteReader {
  const stat = fstatSync(fd);
  if (stat.isFile()) return new FileBytes(fd, stat.size);
  if (stat.isFIFO() || stat.isSocket()) {
    return new StreamBytes(new Socket({ fd, readable: true, writable: false }));
  }
  if (isatty(fd)) return new StreamBytes(new TerminalStream(fd));
  close(fd);
  if (stat.isDirectory()) throw Object.assign(new Error("EISDIR"), { code: "EISDIR" });
  return new StreamBytes(createReadStream(path, { highWaterMark: chunkBytes }));
}

class FileBytes implements ByteReader {
  readonly size: number | undefined;
  readonly #fd: number;
  #front: Buffer = Buffer.allocUnsafeSlow(chunkBytes);
  #back: Buffer = Buffer.allocUnsafeSlow(chunkBytes);
  #reading: Promise<number> | undefined;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    // What has no size and yet is a file (/proc) is read all the same.
    this.size = size === 0 ? undefined : size;
  }

  async next(): Promise<Buffer | undefined> {
    this.#reading ??= this.#read();
    const count = await this.#reading;
    if (count === 0) return undefined;
    const full = this.#back;
    this.#back = this.#front;
    this.#front = full;
    this.#reading = this.#read();
    // Whoever closes now does not ask for what this one gives.
    this.#reading.catch(() => {});
    return count === full.length ? full : full.subarray(0, count);
  }

  #read(): Promise<number> {
    return readSome(this.#fd, this.#back);
  }

  async close(): Promise<void> {
    await this.#reading?.catch(() => {});
    if (this.#fd !== 0) await closeFile(this.#fd);
  }
}

function openFile(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, "r", (error, fd) => {
      if (error === null) resolve(fd);
      else reject(error);
    });
  });
}

function closeFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    close(fd, (error) => {
      if (error == null) resolve();
      else reject(error);
    });
  });
}

function readSome(fd: number, buffer: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, null, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

class StreamBytes implements ByteReader {
  readonly size = undefined;
  readonly #stream: Readable;
  readonly #chunks: AsyncIterator<unknown>;

  constructor(stream: Readable) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async next(): Promise<Buffer | undefined> {
    const { value, done } = await this.#chunks.next();
    if (done === true) return undefined;
    return typeof value === "string" ? Buffer.from(value) : asBuffer(value);
  }

  close(): Promise<void> {
    // Not the iterator's `return()`, which waits for a chunk that may never come.
    this.#stream.destroy();
    return Promise.resolve();
  }
}

function asBuffer(chunk: unknown): Buffer {
  if (Buffer.isBuffer(chunk)) return chunk;
  if (chunk instanceof Uint8Array) {
    return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
  throw new TypeError(`Cannot read bytes from a stream of ${typeof chunk}s`);
}
