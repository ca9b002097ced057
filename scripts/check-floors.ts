// Who may import whom: an arrow only ever points down. Tests may look anywhere.
import { posix } from "node:path";
import { importsOf, type ImportFound } from "./support/syntax.ts";
import { filesUnder, isMain, readText } from "./support/repository.ts";

/**
 * Each room and what it may import besides itself: a folder, or one file of a
 * folder. A room that is not named here is its parent's; `broker/*` are equal
 * rooms that do not see each other.
 */
const floors: Readonly<Record<string, readonly string[]>> = {
  task: [],
  message: ["task/errors", "task/clock"],
  sync: ["task"],
  watch: ["task"],
  session: ["message", "sync", "task"],
  "broker/*": ["message", "sync", "task"],
  inspect: ["watch"],
  "inspect/ui": ["inspect/wire"],
  otel: ["watch", "task"],
  testing: ["message", "session", "sync", "task", "watch", "broker/memory"],
  cli: ["inspect", "session", "watch", "message", "task", "cli/demo"],
  // Programs as users write them, with the queues and locks that the command itself has no need of.
  "cli/demo": ["cli", "session", "sync", "task"],
  doors: ["*"],
};

/** The files that may load a door by its public name, at run time only. */
function mayLoadDoor(path: string, specifier: string): boolean {
  if (path === "src/watch/start.ts") return specifier === "heddle/inspect";
  return roomOf(path) === "cli";
}

function roomOf(path: string): string | undefined {
  const [top = "", second = "", third] = path.split("/").slice(1);
  if (top === "broker") return third === undefined ? undefined : `broker/${second}`;
  if (floors[`${top}/${second}`] !== undefined) return `${top}/${second}`;
  return floors[top] === undefined ? undefined : top;
}

function allowedIn(room: string): readonly string[] {
  return floors[room] ?? floors["broker/*"] ?? [];
}

function isExempt(path: string): boolean {
  return /\.test(-d)?\.ts$/.test(path) || path.includes("/test-support/");
}

/** Whether `target` (`task/errors.ts`) lies in `allowed` (`task`, `task/errors`, `*`). */
function covers(allowed: string, target: string): boolean {
  return allowed === "*" || target === `${allowed}.ts` || target.startsWith(`${allowed}/`);
}

function relativeError(path: string, room: string, specifier: string): string | undefined {
  const target = posix.join(posix.dirname(path), specifier);
  if (!target.startsWith("src/")) return `${path} imports ${target}, which lies outside src/`;
  const inSrc = target.slice("src/".length);
  const targetRoom = roomOf(target);
  if (targetRoom === room) return undefined;
  const allowed = allowedIn(room);
  if (allowed.some((each) => covers(each, inSrc))) return undefined;
  // Where part of a folder is open, the sentence has to name the file.
  const partly = allowed.some(
    (each) => targetRoom !== undefined && each.startsWith(`${targetRoom}/`),
  );
  const named = partly || targetRoom === undefined ? inSrc : `${targetRoom}/`;
  const list = allowed.length === 0 ? "itself" : allowed.join(", ");
  return `${path} imports ${named}, and ${room}/ may import only: ${list}`;
}

function packageError(
  path: string,
  { specifier, dynamic }: ImportFound,
  dependencies: ReadonlySet<string>,
) {
  if (specifier.startsWith("node:")) return undefined;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  if (name === "heddle") {
    if (dynamic && mayLoadDoor(path, specifier)) return undefined;
    return `${path} imports ${specifier}, and src/ imports its own files by relative path`;
  }
  if (roomOf(path) !== "cli") return `${path} imports ${name}, and only cli/ may import packages`;
  if (!dependencies.has(name))
    return `${path} imports ${name}, which is no dependency of the package`;
  return undefined;
}

/** @returns one sentence for each arrow of the file that points where it may not */
export function floorErrors(
  path: string,
  source: string,
  dependencies: ReadonlySet<string> = new Set(),
): string[] {
  if (isExempt(path)) return [];
  const room = roomOf(path);
  if (room === undefined) return [`${path} stands in no folder that has a floor`];
  const errors = importsOf(path, source).map((found) =>
    found.specifier.startsWith(".")
      ? relativeError(path, room, found.specifier)
      : packageError(path, found, dependencies),
  );
  return [...new Set(errors.filter((error) => error !== undefined))];
}

if (isMain(import.meta)) {
  const manifest = JSON.parse(readText("package.json")) as { dependencies?: object };
  const dependencies = new Set(Object.keys(manifest.dependencies ?? {}));
  const paths = filesUnder("src", (path) => /\.[cm]?tsx?$/.test(path));
  const errors = paths.flatMap((path) => floorErrors(path, readText(path), dependencies));
  for (const error of errors) console.error(error);
  console.log(`${paths.length} files, ${errors.length} arrows that point where they may not`);
  if (errors.length > 0) process.exitCode = 1;
}
