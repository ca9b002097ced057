// The line that is drawn over and over while a run goes on, on a terminal only.
import type { Clock } from "../task/clock.ts";
import { bytes, bytesOf, count, duration } from "./words.ts";

/** How far a run has come. */
export interface Progress {
  readonly bytes?: number | undefined;
  readonly totalBytes?: number | undefined;
  /** Lines read, or messages handled where there are no lines */
  readonly done: number;
  readonly noun: "lines" | "messages";
  readonly live: number;
}

/** The part of a terminal's stream that is used. */
export interface Terminal {
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const redrawMs = 125;

/** How long back the rate looks, in redraws. */
const window = 16;

const eraseLine = "\r\u001b[2K";

/** Draws what `look` sees until it is stopped. */
export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #look: () => Progress;
  readonly #seen: { readonly at: number; readonly progress: Progress }[] = [];
  #callOff: (() => void) | undefined;
  #drawn = false;

  constructor(terminal: Terminal, clock: Clock, look: () => Progress) {
    this.#terminal = terminal;
    this.#clock = clock;
    this.#look = look;
  }

  start(): void {
    this.#seen.push({ at: this.#clock.now(), progress: this.#look() });
    this.#callOff = this.#clock.wakeAfter(redrawMs, this.#redraw);
  }

  /** Stops, and leaves the line empty. */
  stop(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.clear();
  }

  /** Makes room for something else to be written; the line is drawn again below it. */
  clear(): void {
    if (this.#drawn) this.#terminal.write(eraseLine);
    this.#drawn = false;
  }

  readonly #redraw = (): void => {
    this.#callOff = this.#clock.wakeAfter(redrawMs, this.#redraw);
    const now = { at: this.#clock.now(), progress: this.#look() };
    this.#seen.push(now);
    if (this.#seen.length > window) this.#seen.shift();
    const line = progressText(this.#seen[0] ?? now, now);
    this.#terminal.write(eraseLine + line.slice(0, (this.#terminal.columns || 80) - 1));
    this.#drawn = true;
  };
}

interface Sight {
  readonly at: number;
  readonly progress: Progress;
}

/** What the line says, by how things stood a moment ago and how they stand now. */
export function progressText(before: Sight, now: Sight): string {
  const { bytes: read, totalBytes, done, noun, live } = now.progress;
  const seconds = Math.max(now.at - before.at, 1) / 1_000;
  const parts: string[] = [];
  if (read !== undefined && totalBytes === undefined) parts.push(bytes(read));
  if (read !== undefined && totalBytes !== undefined) {
    parts.push(bytesOf(read, totalBytes), percent(read, totalBytes));
  }
  parts.push(`${count(done)} ${noun}`);
  parts.push(`${count((done - before.progress.done) / seconds)}/s`);
  parts.push(`${count(live)} live`);
  const bytesBefore = before.progress.bytes;
  if (
    read !== undefined &&
    bytesBefore !== undefined &&
    totalBytes !== undefined &&
    read > bytesBefore
  ) {
    const left = (Math.max(totalBytes - read, 0) / (read - bytesBefore)) * seconds;
    parts.push(`${duration(left * 1_000)} left`);
  }
  return parts.join("  ");
}

function percent(part: number, whole: number): string {
  return `${Math.min(Math.floor((part / whole) * 100), 100)} %`;
}
