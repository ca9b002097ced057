// `heddle run`: a module's sessions over its input, from the first line to the
// summary.
import pico from "picocolors";
import { systemClock } from "../task/clock.ts";
import { toSource } from "../message/iterable.ts";
import type { DeadLetter, Key } from "../message/delivery.ts";
import type { Sink, Source } from "../message/source.ts";
import { SessionRouter } from "../session/router.ts";
import type { DrainReport, SessionRouterOptions } from "../session/options.ts";
import { loadDefinition, refusedOption, type Definition } from "./definition.ts";
import { checkInput, refuseSameFile, type UsedFile } from "./files.ts";
import { Letters, type LetterLine } from "./letters.ts";
import { limitSource } from "./limit.ts";
import { ProgressLine, type Progress } from "./progress.ts";
import { summaryJson, summaryText, type RunFigures } from "./summary.ts";
import { codeOf, messageOf, UsageError } from "./usage-error.ts";

export interface RunFlags {
  readonly input?: string | undefined;
  readonly output?: string | undefined;
  readonly deadLetters?: string | undefined;
  readonly limit?: number | undefined;
  readonly json?: boolean | undefined;
}

// Brokers are loaded when they are called for, by the names that users know them by.
const loadLines = () => import("heddle/lines");
type Lines = Awaited<ReturnType<typeof loadLines>>;
type LinesSource = ReturnType<Lines["linesSource"]>;

/** @returns the exit status */
export async function run(module: string, flags: RunFlags): Promise<number> {
  const definition = await loadDefinition(module);
  checkFlags(module, definition, flags);
  return await new Run(module, definition, flags, await loadLines()).toTheEnd();
}

/** @throws {UsageError} If the flags do not go together with the module, or with each other */
function checkFlags(module: string, definition: Definition, flags: RunFlags): void {
  const { input, output, deadLetters } = flags;
  if (output !== undefined && (definition.output !== undefined || definition.sink !== undefined)) {
    const own = definition.output === undefined ? "sink" : "output";
    throw new UsageError(`Cannot use --output ${output}: ${module} has its own ${own}`);
  }
  if (deadLetters === "-") throw new UsageError("Cannot use --dead-letters -: name a file");
  const reads = readsLines(definition, flags);
  if (reads && definition.key === undefined) {
    throw new UsageError(`Cannot run ${module}: it has no key, and lines have none of their own`);
  }
  if (reads && input !== undefined && input !== "-") checkInput(input);

  const files: UsedFile[] = [{ as: module, file: module, written: false }];
  if (reads) {
    files.push(
      input === undefined || input === "-"
        ? { as: "standard input", file: 0, written: false }
        : { as: `--input ${input}`, file: input, written: false },
    );
  }
  files.push(
    output === undefined || output === "-"
      ? { as: "standard output", file: 1, written: true }
      : { as: `--output ${output}`, file: output, written: true },
  );
  if (deadLetters !== undefined) {
    files.push({ as: `--dead-letters ${deadLetters}`, file: deadLetters, written: true });
  }
  refuseSameFile(files);
}

/** `--input` goes before the module's own source: it is how one plays a file through it. */
function readsLines(definition: Definition, flags: RunFlags): boolean {
  return flags.input !== undefined || definition.source === undefined;
}

const defaultDrainMs = 10_000;

class Run {
  readonly #definition: Definition;
  readonly #flags: RunFlags;
  readonly #lines: LinesSource | undefined;
  readonly #source: Source;
  readonly #letters: Letters;
  readonly #keptIn: string | undefined;
  readonly #letterSink: Sink<LetterLine> | undefined;
  readonly #sink: Sink;
  readonly #router: SessionRouter<unknown, Key, unknown, unknown>;
  readonly #opening: (() => Promise<void>)[] = [];
  readonly #progress: ProgressLine | undefined;
  #stoppedBy: NodeJS.Signals | undefined;

  constructor(module: string, definition: Definition, flags: RunFlags, lines: Lines) {
    this.#definition = definition;
    this.#flags = flags;
    const { deadLetters: letterFile, limit } = flags;

    if (readsLines(definition, flags)) {
      const { input = "-" } = flags;
      const name = input === "-" ? "standard input" : undefined;
      this.#lines = lines.linesSource({ input, name, parse: definition.parse });
    }
    const source = this.#lines ?? toSource(definition.source!);
    this.#source = limit === undefined ? source : limitSource(source, limit);

    if (letterFile !== undefined) {
      const sink = lines.linesSink<LetterLine>({
        output: letterFile,
        append: true,
        broken: this.#broken,
      });
      this.#opening.push(() => sink.open());
      this.#letterSink = sink;
    }
    this.#letters = new Letters(this.#lines !== undefined, this.#letterSink);
    this.#keptIn = letterPlace(definition, source, letterFile);

    if (definition.sink === undefined) {
      const sink = lines.linesSink({ output: flags.output ?? "-", broken: this.#broken });
      if (definition.output === undefined) this.#opening.push(() => sink.open());
      this.#sink = sink;
    } else {
      this.#sink = definition.sink;
    }

    try {
      this.#router = new SessionRouter(this.#routerOptions(source));
    } catch (error) {
      const message = messageOf(error);
      const why = refusedOption.exec(message)?.[1] ?? message;
      throw new UsageError(`Cannot run ${module}: ${why}`, { cause: error });
    }
    // What is typed and the line that is drawn would write over each other.
    if (process.stderr.isTTY && !this.#isTyped) {
      this.#progress = new ProgressLine(process.stderr, systemClock, () => this.#look());
    }
  }

  #routerOptions(source: Source): SessionRouterOptions<unknown, Key, unknown, unknown> {
    const { parse: _parse, source: _source, sink: _sink, ...options } = this.#definition;
    const sink = this.#sink;
    const write = (value: unknown): unknown => {
      // Outputs that scroll by on the same terminal are progress enough.
      if (process.stdout.isTTY && (this.#flags.output ?? "-") === "-") this.#progress?.stop();
      return sink.write(value);
    };
    const output = options.output ?? write;
    // Letters that the source itself keeps are left to it, unless a file was named.
    const leftToSource =
      options.deadLetter === undefined &&
      this.#letterSink === undefined &&
      source.capabilities.deadLetters;
    if (leftToSource) return { ...options, output };
    const own = options.deadLetter;
    const deadLetter = async (letter: DeadLetter): Promise<void> => {
      await this.#letters.take(letter);
      if (typeof own === "function") await own(letter);
    };
    return { ...options, output, deadLetter };
  }

  async toTheEnd(): Promise<number> {
    for (const open of this.#opening) {
      try {
        await open();
      } catch (error) {
        throw new UsageError(messageOf(error), { cause: error });
      }
    }
    this.#sayWhereInputComesFrom();
    const startedAt = systemClock.now();
    process.on("SIGINT", this.#onSignal).on("SIGTERM", this.#onSignal);
    process.on("beforeExit", this.#onNothingLeft);
    // A module may print by itself, and its reader may go just the same.
    process.stdout.on("error", this.#broken);
    this.#progress?.start();
    let failure: unknown;
    let report: DrainReport;
    try {
      try {
        await this.#router.consume(this.#source);
      } catch (error) {
        // A run that was told to stop has nothing to complain of.
        if (this.#stoppedBy === undefined) failure = error;
      }
      // Waited for before the drain, so that a signal can still set a deadline.
      if (this.#stoppedBy === undefined && failure === undefined) await this.#router.join();
      report = await this.#router.drain(this.#drainOptions(failure !== undefined));
      await this.#sink.close();
      await this.#letterSink?.close();
    } finally {
      this.#progress?.stop();
      process.off("SIGINT", this.#onSignal).off("SIGTERM", this.#onSignal);
      process.off("beforeExit", this.#onNothingLeft);
    }
    return this.#conclude(report, systemClock.now() - startedAt, failure);
  }

  /** Whether the input comes from somebody's fingers. */
  get #isTyped(): boolean {
    const { input = "-" } = this.#flags;
    return this.#lines !== undefined && input === "-" && process.stdin.isTTY;
  }

  #sayWhereInputComesFrom(): void {
    if (this.#isTyped && process.stderr.isTTY) {
      process.stderr.write("reading standard input; Ctrl-D ends it\n");
    }
  }

  #drainOptions(hurried: boolean): { readonly deadlineMs?: number } {
    if (!hurried && this.#stoppedBy === undefined) return {};
    return { deadlineMs: this.#definition.drainMs ?? defaultDrainMs };
  }

  /** Handlers wait for what can never come: no timer, file or socket is left that could bring it. */
  readonly #onNothingLeft = (): void => {
    this.#router.drain({ deadlineMs: 0 }).catch(() => {});
  };

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.#stoppedBy !== undefined) {
      this.#progress?.stop();
      process.exit(signal === "SIGINT" ? 130 : 143);
    }
    this.#stoppedBy = signal;
    if (process.stderr.isTTY) {
      this.#progress?.clear();
      process.stderr.write("stopping: finishing what was accepted; once more stops at once\n");
    }
    // Reported by whoever waits for the end; a second call gives the same promise.
    this.#router.drain(this.#drainOptions(true)).catch(() => {});
  };

  /** An output that is broken ends the run at once: nothing that goes on being handled could be kept. */
  readonly #broken = (error: Error): void => {
    this.#progress?.stop();
    if (codeOf(error) === "EPIPE") process.exit(0);
    process.stderr.write(`heddle: ${messageOf(error)}\n`);
    process.exit(1);
  };

  #look(): Progress {
    const { handled, live } = this.#router.statistics();
    const lines = this.#lines?.progress();
    if (lines === undefined) return { done: handled, noun: "messages", live };
    const { bytes, totalBytes } = lines;
    return { bytes, totalBytes, done: lines.lines, noun: "lines", live };
  }

  #conclude(report: DrainReport, elapsedMs: number, failure: unknown): number {
    const letters = this.#letters;
    const lost = letters.count > 0 && this.#keptIn === undefined;
    const status = lost || report.pending > 0 || failure !== undefined ? 1 : 0;
    const progress = this.#lines?.progress();
    const figures: RunFigures = {
      statistics: this.#router.statistics(),
      report,
      elapsedMs,
      ...(progress === undefined
        ? {}
        : {
            lines: { lines: progress.lines, bytes: progress.bytes, skipped: progress.skipped },
          }),
      letters: {
        count: letters.count,
        byReason: letters.byReason,
        shown: letters.shown,
        keptIn: this.#keptIn,
      },
      outputFile: this.#flags.output === "-" ? undefined : this.#flags.output,
      stoppedBy: this.#stoppedBy,
      failure: failure === undefined ? undefined : messageOf(failure),
      status,
    };
    if (failure !== undefined) process.stderr.write(`heddle: ${messageOf(failure)}\n`);
    const { NO_COLOR } = process.env;
    const colors = pico.createColors(process.stderr.isTTY && (NO_COLOR ?? "") === "");
    process.stderr.write(
      this.#flags.json === true ? `${summaryJson(figures)}\n` : summaryText(figures, colors),
    );
    return status;
  }
}

/** Who keeps the dead letters, in words; `undefined` when nobody does. */
function letterPlace(
  definition: Definition,
  source: Source,
  file: string | undefined,
): string | undefined {
  if (file !== undefined) return file;
  if (typeof definition.deadLetter === "function") return "the module's deadLetter";
  if (definition.deadLetter === "drop") return "no place, as the module says";
  return source.capabilities.deadLetters ? source.name : undefined;
}
