// `heddle demo`: the service of the report that this project began with, in its
// three states, and how they compare.
import { readFileSync } from "node:fs";
import type { DemoOutcome } from "./demo/program.ts";

export interface DemoFlags {
  readonly broken?: boolean | undefined;
}

/** What each state of the demo exports as `run`. */
export interface DemoRun {
  /** Aborted when the demo is to stop */
  readonly signal: AbortSignal;
  print(line: string): void;
  /** How long to run; `Infinity` until it is stopped */
  readonly seconds: number;
}

const seconds = 3;

/** @returns the exit status */
export async function demo(flags: DemoFlags): Promise<number> {
  const stop = new AbortController();
  let stoppedWith: NodeJS.Signals | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    // A second one ends the process, as it would without us.
    if (stoppedWith !== undefined) process.exit(signal === "SIGINT" ? 130 : 143);
    stoppedWith = signal;
    stop.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  // `heddle demo | head` has seen enough.
  process.stdout.on("error", () => process.exit(0));

  const print = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  try {
    const alone = flags.broken === true;
    await play(alone ? [broken] : [broken, mended, routed], {
      signal: stop.signal,
      print,
      seconds: alone ? Infinity : seconds,
    });
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
  return 0;
}

/**
 * Runs the programs one after the other, and compares them where there is something to compare.
 *
 * @internal
 */
export async function play(programs: readonly DemoProgram[], options: DemoRun): Promise<void> {
  const { signal, print } = options;
  const ran: Ran[] = [];
  for (const [index, program] of programs.entries()) {
    if (signal.aborted) break;
    if (index > 0) print("");
    print(program.title);
    const { run } = await program.load();
    ran.push({ program, outcome: await run(options) });
  }
  if (ran.length > 1) print(`\n${comparison(ran)}`);
}

/** @internal */
export interface DemoProgram {
  readonly title: string;
  /** In the folder `demo` */
  readonly file: string;
  load(): Promise<{ run(options: DemoRun): Promise<DemoOutcome> }>;
}

interface Ran {
  readonly program: DemoProgram;
  readonly outcome: DemoOutcome;
}

/** @internal */
export const broken: DemoProgram = {
  title: "1. Broken: at the end message nobody cancels the task",
  file: "broken.ts",
  load: () => import("./demo/broken.ts"),
};
/** @internal */
export const mended: DemoProgram = {
  title: "2. Mended by hand: the task cancels itself at the end message",
  file: "mended.ts",
  load: () => import("./demo/mended.ts"),
};
/** @internal */
export const routed: DemoProgram = {
  title: "3. On the session router",
  file: "routed.ts",
  load: () => import("./demo/routed.ts"),
};

function comparison(ran: readonly Ran[]): string {
  const rows = [
    ["", "calls handled", "tasks left pending", "lines of code"],
    ...ran.map(({ program: { title, file }, outcome: { calls, pending } }) => [
      title.split(":", 1)[0] ?? title,
      ...[calls, pending, linesOfCode(file)].map(String),
    ]),
  ];
  const width = Math.max(...rows.map(([title = ""]) => title.length));
  const lines = rows.map(([title = "", ...figures]) =>
    [title.padEnd(width), ...figures.map((figure, n) => figure.padStart(rows[0]![n + 1]!.length))]
      .join("   ")
      .trimEnd(),
  );
  lines.push(
    "(lines without imports, comments and blank ones; the producer is the same in all three)",
  );
  return lines.join("\n");
}

/**
 * Counted in the sources, which the package has with it.
 *
 * @internal
 */
export function linesOfCode(file: string): number {
  const source = readFileSync(new URL(`../../src/cli/demo/${file}`, import.meta.url), "utf8");
  return source.split("\n").filter((line) => !/^\s*(\/\/.*)?$|^import /.test(line)).length;
}
