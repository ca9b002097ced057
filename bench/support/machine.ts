// What a figure was measured on; without it no figure means anything.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";

export interface Machine {
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
}

export function machine(node: string): Machine {
  const cores = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${cores.length} × ${cores[0]?.model.trim() ?? "unknown"}, ${memory}, ${platform()} ${arch()}`,
    versions: {
      Node: version(node, ["--version"]),
      effect: installed("effect"),
      rxjs: installed("rxjs"),
      "p-queue": installed("p-queue"),
      CPython: version("python3", ["--version"]),
      Go: version("go", ["version"]),
    },
  };
}

function version(command: string, args: readonly string[]): string {
  const { stdout, error } = spawnSync(command, args, { encoding: "utf8" });
  return error === undefined ? (/\d+\.\d+(\.\d+)?/.exec(stdout)?.[0] ?? "unknown") : "missing";
}

function installed(name: string): string {
  try {
    const text = readFileSync(
      new URL(`../../node_modules/${name}/package.json`, import.meta.url),
      "utf8",
    );
    return (JSON.parse(text) as { readonly version: string }).version;
  } catch {
    return "missing";
  }
}
