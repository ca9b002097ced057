// Every measurement is a process of its own, so that neither what the JIT learned
// from one contender nor the heap that it left is there for the next one.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MissingError, type Plan, type Row, type Settings } from "./question.ts";

/** The flags of every child: Node 22 needs the first one below 22.18. */
export const nodeFlags: readonly string[] = [
  "--experimental-strip-types",
  "--disable-warning=ExperimentalWarning",
];

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function finished(command: string, args: readonly string[]): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", (error: NodeJS.ErrnoException) => {
      reject(error.code === "ENOENT" ? new MissingError(`no ${command} on the PATH`) : error);
    });
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

async function valueOf(name: string, command: string, args: readonly string[]): Promise<number> {
  const { status, stdout, stderr } = await finished(command, args);
  if (status !== 0) throw new Error(`${name} failed with status ${status}\n${stderr}`);
  const answer = JSON.parse(stdout) as { readonly value?: number; readonly missing?: string };
  if (answer.missing !== undefined) throw new MissingError(answer.missing);
  return answer.value as number;
}

const labels: Readonly<Record<string, string>> = {
  bare: "bare dispatch (Map and a call)",
  "hand-written": "hand-written Map of queues, a loop per key",
  "heddle-message": "Heddle, message style, handler without a promise",
  "heddle-async": "Heddle, message style, async handler",
  "heddle-loop": "Heddle, loop style",
  effect: "Effect 4, FiberMap and Queue",
  rxjs: "RxJS, groupBy",
  "p-queue": "p-queue per key",
  asyncio: "CPython asyncio, queue and task per key",
  go: "Go, goroutine and channel per key",
};

/**
 * The row of one contender; the last word on how it is run.
 *
 * @param plan What the child is told; made anew for each measurement because `--quick` changes it
 */
export function row(
  question: string,
  contender: string,
  plan: (settings: Settings) => Plan,
  {
    id = contender,
    suffix = "",
    flags = [],
  }: { id?: string; suffix?: string; flags?: readonly string[] } = {},
): Row {
  const label = `${labels[contender] ?? contender}${suffix}`;
  return {
    id,
    label,
    measure(settings) {
      const text = JSON.stringify(plan(settings));
      if (contender === "asyncio") {
        return valueOf(label, "python3", [beside("../peers/keyed_asyncio.py"), question, text]);
      }
      if (contender === "go") return valueOf(label, goProgram(), [question, text]);
      return valueOf(label, settings.node, [
        ...nodeFlags,
        ...flags,
        beside("child.ts"),
        question,
        contender,
        text,
      ]);
    },
  };
}

function beside(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

let builtGo: string | undefined;

/** Built once a run, into the machine's folder for temporary files. */
function goProgram(): string {
  if (builtGo !== undefined) return builtGo;
  if (spawnSync("go", ["version"]).error !== undefined) throw new MissingError("no go on the PATH");
  const folder = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, process.platform === "win32" ? "keyed.exe" : "keyed");
  const built = spawnSync("go", ["build", "-o", program, beside("../peers/keyed.go")], {
    encoding: "utf8",
  });
  if (built.status !== 0) throw new Error(`keyed.go does not compile\n${built.stderr}`);
  builtGo = program;
  return program;
}
