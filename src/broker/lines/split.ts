// Cuts chunks of bytes into lines. All lines that lie wholly in a chunk are
// found in one pass over one decoded text; only the line that crosses into the
// next chunk is put together from copies.
//
// UTF-8 never has the byte of a line feed inside a character, so cutting at
// line feeds first and decoding afterwards is right wherever a chunk ends.

/** Stands for a line of more than `maxLineBytes`, of which {@link LineSplitter.beginning} is what was kept. */
export const tooLong: unique symbol = Symbol("too long");

/** Of a line that is too long, so much is kept to tell which one it was. */
const keptOfLongLine = 256;

const lineFeed = 10;
const carriageReturn = 13;

/**
 * Turns chunks into lines.
 *
 * @param whole Whether the lines may be slices of a chunk's text. A slice keeps
 * the whole text alive: right for JSON, whose parsed values are copies, and
 * wrong for text that somebody may keep.
 */
export class LineSplitter {
  /** Of the last line that was too long: how it begins */
  beginning = "";
  readonly #whole: boolean;
  readonly #maxBytes: number;

  /** The line under way: its pieces, and how long it is so far */
  #pieces: Buffer[] = [];
  #length = 0;

  /** The chunk being walked through */
  #chunk: Buffer = Buffer.alloc(0);
  /** The whole lines of the chunk: decoded, or byte for byte when only line ends are looked for */
  #text = "";
  #textAt = 0;
  #position = 0;
  #first: string | typeof tooLong | undefined;

  constructor(whole: boolean, maxBytes: number) {
    this.#whole = whole;
    this.#maxBytes = maxBytes;
  }

  /** Takes the next chunk in; what `next` gives comes from it until it gives `undefined`. */
  take(chunk: Buffer): void {
    this.#first = undefined;
    this.#text = "";
    this.#position = 0;
    let start = 0;
    if (this.#length > 0) {
      const end = chunk.indexOf(lineFeed);
      if (end === -1) {
        this.#keep(chunk);
        return;
      }
      this.#keep(chunk.subarray(0, end));
      this.#first = this.#finish();
      start = end + 1;
    }
    const last = chunk.lastIndexOf(lineFeed);
    if (last >= start) {
      this.#chunk = chunk;
      this.#textAt = start;
      this.#text = this.#whole
        ? chunk.toString("utf8", start, last + 1)
        : chunk.toString("latin1", start, last + 1);
      start = last + 1;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** No chunk follows: the last line need not have a line end. */
  end(): void {
    this.#text = "";
    this.#position = 0;
    this.#first = this.#length > 0 ? this.#finish() : undefined;
  }

  next(): string | typeof tooLong | undefined {
    if (this.#first !== undefined) {
      const first = this.#first;
      this.#first = undefined;
      return first;
    }
    const text = this.#text;
    const start = this.#position;
    if (start >= text.length) return undefined;
    let end = text.indexOf("\n", start);
    this.#position = end + 1;
    if (end > start && text.charCodeAt(end - 1) === carriageReturn) end -= 1;
    if (!this.#whole) {
      const from = this.#textAt + start;
      if (end - start > this.#maxBytes) {
        this.beginning = this.#chunk.toString("utf8", from, from + keptOfLongLine);
        return tooLong;
      }
      return this.#chunk.toString("utf8", from, this.#textAt + end);
    }
    // A character is at most three bytes for each of its units.
    if ((end - start) * 3 > this.#maxBytes) return this.#measured(text.slice(start, end));
    return text.slice(start, end);
  }

  #measured(line: string): string | typeof tooLong {
    if (Buffer.byteLength(line) <= this.#maxBytes) return line;
    this.beginning = unsliced(line.slice(0, keptOfLongLine));
    return tooLong;
  }

  #keep(piece: Buffer): void {
    const kept = this.#length;
    this.#length += piece.length;
    // One more than is allowed is enough to know that it is too long; a line
    // end of two bytes is not counted.
    const room = this.#maxBytes + 2 - kept;
    if (room <= 0) return;
    // Copied: the chunk's buffer is used again.
    this.#pieces.push(Buffer.from(room < piece.length ? piece.subarray(0, room) : piece));
  }

  #finish(): string | typeof tooLong {
    const line = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    const length = this.#length;
    this.#pieces = [];
    this.#length = 0;
    let end = line.length;
    if (end === length && end > 0 && line[end - 1] === carriageReturn) end -= 1;
    if (end > this.#maxBytes) {
      this.beginning = line.toString("utf8", 0, Math.min(end, keptOfLongLine));
      return tooLong;
    }
    return line.toString("utf8", 0, end);
  }
}

/** The same text in memory of its own, so that it keeps no chunk alive. */
export function unsliced(text: string): string {
  return Buffer.from(text).toString();
}
