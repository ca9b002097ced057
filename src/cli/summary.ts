// What a run has come to, for people and for programs.
import type { Colors } from "picocolors/types.js";
import type { DeadLetterReason } from "../message/delivery.ts";
import type { DrainReport, EndReason, RouterStatistics } from "../session/options.ts";
import { count, counted, duration } from "./words.ts";

/** What is known when a run has ended. */
export interface RunFigures {
  readonly statistics: RouterStatistics;
  readonly report: DrainReport;
  readonly elapsedMs: number;
  /** Lines and bytes read, and lines that `parse` made no message of */
  readonly lines?: { readonly lines: number; readonly bytes: number; readonly skipped: number };
  readonly letters: {
    readonly count: number;
    readonly byReason: Readonly<Partial<Record<DeadLetterReason, number>>>;
    readonly shown: readonly string[];
    /** Where they are kept, in words; `undefined` when they are lost */
    readonly keptIn: string | undefined;
  };
  readonly outputFile: string | undefined;
  readonly stoppedBy: string | undefined;
  /** Why the input broke off, if it did */
  readonly failure: string | undefined;
  readonly status: number;
}

/** The summary as lines of text: numbers first, one thing a line. */
export function summaryText(figures: RunFigures, colors: Colors): string {
  const { statistics, report, lines, letters, elapsedMs } = figures;
  const rows: Row[] = [];
  const row = (value: number, text: string, paint?: Paint): void => {
    rows.push({ value: count(value), text, paint });
  };
  const some = (value: number, text: string, paint?: Paint): void => {
    if (value > 0) row(value, text, paint);
  };

  const rate = elapsedMs > 0 ? statistics.handled / (elapsedMs / 1_000) : 0;
  row(
    statistics.handled,
    `${plural(statistics.handled, "message")} handled in ${duration(elapsedMs)}, ${count(rate)} a second`,
    colors.bold,
  );
  if (lines !== undefined) some(lines.skipped, `of ${counted(lines.lines, "line")} skipped`);
  row(
    statistics.started,
    `${plural(statistics.started, "session")} started, at most ${count(statistics.peakLive)} live at once`,
    colors.bold,
  );
  for (const [reason, ended] of Object.entries(statistics.ended)) {
    some(ended, `  ${endings[reason as EndReason] ?? reason}`);
  }
  row(statistics.late, "late");
  const lost = letters.count > 0 && letters.keptIn === undefined;
  row(
    statistics.deadLettered,
    `dead-lettered${letterDetails(letters)}`,
    lost ? colors.red : statistics.deadLettered > 0 ? colors.yellow : undefined,
  );
  row(statistics.dropped, "dropped");
  some(statistics.interrupted, "interrupted");
  row(statistics.retried, "retried");
  some(
    statistics.forced.evictions,
    "evicted because nothing could have moved otherwise",
    colors.yellow,
  );
  some(
    statistics.forced.watermarks,
    "times let out of order because maxHeld was full",
    colors.yellow,
  );
  some(statistics.leftovers, "left behind by sessions", colors.yellow);
  some(report.released, "given back to the source");
  row(report.pending, "pending", report.pending > 0 ? colors.red : colors.green);

  const width = Math.max(...rows.map(({ value }) => value.length));
  const text = rows.map(({ value, text: what, paint = plain }) =>
    paint(`  ${value.padStart(width)} ${what}`),
  );
  for (const name of report.ignored) {
    text.push(colors.red(`  ${name} ignores its cancellation`));
  }
  if (lost) {
    for (const letter of letters.shown) text.push(colors.dim(`  ${letter}`));
    text.push("  keep them with --dead-letters FILE");
  }
  if (figures.stoppedBy !== undefined) text.push(`  stopped by ${figures.stoppedBy}`);
  if (figures.outputFile !== undefined) text.push(`  outputs are in ${figures.outputFile}`);
  return `${text.join("\n")}\n`;
}

type Paint = (text: string) => string;

interface Row {
  readonly value: string;
  readonly text: string;
  readonly paint: Paint | undefined;
}

function plain(text: string): string {
  return text;
}

function plural(value: number, noun: string): string {
  return value === 1 ? noun : `${noun}s`;
}

/** How sessions ended, in words that stand behind their number. */
const endings: Readonly<Record<EndReason, string>> = {
  ended: "ended",
  returned: "ended by their handler's return",
  idle: "ended as idle",
  sourceEnded: "ended with the source",
  replaced: "replaced",
  failed: "failed",
  cancelled: "cancelled",
  evicted: "evicted",
  drained: "drained",
  moved: "moved",
};

function letterDetails({ count: all, byReason, keptIn }: RunFigures["letters"]): string {
  const reasons = Object.entries(byReason).map(([reason, some]) => `${count(some)} ${reason}`);
  const details = [];
  if (reasons.length > 0) details.push(reasons.join(", "));
  if (all > 0 && keptIn !== undefined) details.push(`kept in ${keptIn}`);
  return details.length === 0 ? "" : ` (${details.join("; ")})`;
}

/** The summary as one JSON object. */
export function summaryJson(figures: RunFigures): string {
  const { statistics, report, lines, letters, elapsedMs } = figures;
  const seconds = elapsedMs / 1_000;
  return JSON.stringify({
    status: figures.status,
    handled: statistics.handled,
    started: statistics.started,
    ended: statistics.ended,
    peakLive: statistics.peakLive,
    late: statistics.late,
    invalid: statistics.invalid,
    deadLettered: statistics.deadLettered,
    deadLetters: { ...letters.byReason },
    dropped: statistics.dropped,
    interrupted: statistics.interrupted,
    retried: statistics.retried,
    forced: statistics.forced,
    leftovers: statistics.leftovers,
    released: report.released,
    parked: report.parked,
    ignored: report.ignored,
    pending: report.pending,
    ...lines,
    seconds: Math.round(elapsedMs) / 1_000,
    perSecond: seconds > 0 ? Math.round(statistics.handled / seconds) : 0,
    stoppedBy: figures.stoppedBy,
    failure: figures.failure,
  });
}
