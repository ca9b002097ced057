// `heddle demo`: the service of the report that this project began with, in its
// three states.

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
    const programs = flags.broken === true ? [broken] : [broken, mended, routed];
    for (const [index, program] of programs.entries()) {
      if (stop.signal.aborted) break;
      if (index > 0) print("");
      print(program.title);
      const { run } = await program.load();
      await run({
        signal: stop.signal,
        print,
        seconds: flags.broken === true ? Infinity : seconds,
      });
    }
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
  return 0;
}

interface DemoProgram {
  readonly title: string;
  load(): Promise<{ run(options: DemoRun): Promise<unknown> }>;
}

const broken: DemoProgram = {
  title: "1. Broken: at the end message nobody cancels the task",
  load: () => import("./demo/broken.ts"),
};
const mended: DemoProgram = {
  title: "2. Mended by hand: the task cancels itself at the end message",
  load: () => import("./demo/mended.ts"),
};
const routed: DemoProgram = {
  title: "3. On the session router",
  load: () => import("./demo/routed.ts"),
};
