// A program of its own for what a test process must not do: leave a rejection
// unhandled, get a signal, exit.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const doors = ["heddle", "testing"] as const;

export interface ChildEnd {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs `source` as a TypeScript module; imports of "heddle" lead to the sources.
 *
 * @param onLine Called with each line of its standard output, to send signals at the right moment
 */
export async function runChild(
  source: string,
  onLine?: (line: string, kill: (signal: NodeJS.Signals) => void) => void,
): Promise<ChildEnd> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-child-"));
  const file = join(folder, "main.ts");
  let text = source;
  for (const door of doors) {
    const name = door === "heddle" ? "heddle" : `heddle/${door}`;
    const url = new URL(`../../doors/${door}.ts`, import.meta.url).href;
    text = text.replaceAll(`from "${name}"`, `from "${url}"`);
  }
  writeFileSync(file, text);
  // Without the test runner's own flags, and with modules of TypeScript in every supported version.
  const env = { ...process.env, NODE_OPTIONS: "", NODE_NO_WARNINGS: "" };
  const child = spawn(process.execPath, [file], { env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  let seen = 0;
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    stdout += chunk;
    const lines = stdout.split("\n").slice(0, -1);
    for (const line of lines.slice(seen)) onLine?.(line, (signal) => child.kill(signal));
    seen = lines.length;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  try {
    return await new Promise<ChildEnd>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
