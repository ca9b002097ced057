// Loads MODULE and says in one line what is wrong with it. Whoever runs the
// command for the first time meets these lines before anything else.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { basename, extname, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { SessionsDefinition } from "../session/define.ts";
import type { Key } from "../message/delivery.ts";
import { codeOf, messageOf, UsageError } from "./usage-error.ts";

/** What MODULE exports, when nothing is known of its types. */
export type Definition = SessionsDefinition<unknown, Key, unknown, unknown>;

/** @throws {UsageError} If the module cannot be loaded, or is not one of sessions */
export async function loadDefinition(module: string): Promise<Definition> {
  const path = resolve(module);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new UsageError(`Cannot load ${module}: there is no such file`);
  if (!stat.isFile()) throw new UsageError(`Cannot load ${module}: it is not a file`);
  if (isTypeScript(path) && !stripsTypes()) {
    throw new UsageError(
      `Cannot load ${module}: Node ${process.versions.node} does not run TypeScript; use Node 22.18 or newer, or compile it to JavaScript first`,
    );
  }
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
  } catch (error) {
    const refused = refusedOption.exec(messageOf(error));
    if (refused !== null) {
      throw new UsageError(`Cannot run ${module}: ${refused[1]}`, { cause: error });
    }
    throw new UsageError(`Cannot load ${module}: ${loadingFailure(error, path)}`, { cause: error });
  }
  return checked(module, loaded);
}

/** How `defineSessions` and the router refuse an option. */
export const refusedOption: RegExp = /^Cannot (?:make a router|define sessions): (.*)$/;

function isTypeScript(path: string): boolean {
  return [".ts", ".mts", ".cts", ".tsx"].includes(extname(path));
}

function stripsTypes(): boolean {
  // Not in the types of Node 22: false, "strip" or "transform".
  const { typescript } = process.features as { readonly typescript?: unknown };
  return typescript !== undefined && typescript !== false;
}

function loadingFailure(error: unknown, path: string): string {
  const message = messageOf(error);
  switch (codeOf(error)) {
    case "ERR_MODULE_NOT_FOUND": {
      const [, missing, from] =
        /^Cannot find (?:module|package) '(.+?)'(?: imported from (.+))?/.exec(message) ?? [];
      const who = from === undefined || from === path ? "it" : shown(from);
      if (missing === "heddle") {
        return `${who} imports heddle, which is not installed there; run npm install heddle next to it`;
      }
      return `${who} imports ${shown(missing ?? "a module")}, which cannot be found`;
    }
    case "ERR_UNKNOWN_FILE_EXTENSION":
      return `it is neither JavaScript nor TypeScript (its name ends in "${extname(path)}")`;
    case "ERR_IMPORT_ATTRIBUTE_MISSING":
      return "it is neither JavaScript nor TypeScript";
    case "ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING":
      return "Node does not run TypeScript inside node_modules; compile it to JavaScript first";
    case "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX":
      return `${message}${placed(locationIn(error))}; use syntax that can be erased, or compile it to JavaScript first`;
    case undefined:
    default:
      if (error instanceof SyntaxError) {
        return `${message}${placed(locationIn(error) ?? locationOfSyntaxError(path))}`;
      }
      return `it threw "${message}"${placed(locationInStack(error))}`;
  }
}

/** `file:///…/x.js:3` or `/…/x.ts:3`, with which Node begins the stack of some syntax errors. */
function locationIn(error: unknown): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const [, location] =
    /^((?:file:\/\/)?\/?\S.*:\d+)$/m.exec(stack.split("\n    at ", 1)[0] ?? "") ?? [];
  return location;
}

/** Node tells where a module's syntax error is only when nobody catches it. */
function locationOfSyntaxError(path: string): string | undefined {
  const script = `import(${JSON.stringify(pathToFileURL(path).href)})`;
  const { stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    timeout: 10_000,
    // A syntax error is found before anything is run; what runs all the same gets no input.
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [, location] = /^((?:file:\/\/)?\/?\S.*:\d+)$/m.exec(stderr ?? "") ?? [];
  return location;
}

function locationInStack(error: unknown): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  for (const [, location] of stack.matchAll(/\(?((?:file:\/\/)?\/[^()\s]+:\d+):\d+\)?$/gm)) {
    if (location !== undefined && !location.includes("node_modules")) return location;
  }
  return undefined;
}

function placed(location: string | undefined): string {
  return location === undefined ? "" : ` (${shown(location)})`;
}

/** A path as the user would write it from here. */
function shown(location: string): string {
  const path = location.startsWith("file:") ? pathOfUrl(location) : location;
  if (!path.startsWith("/")) return path;
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("..") ? path : fromHere;
}

function pathOfUrl(url: string): string {
  const [, file = url, line = ""] = /^(.*?)(:\d+)?$/.exec(url) ?? [];
  return `${fileURLToPath(file)}${line}`;
}

const how = `export default defineSessions({ key, session or message, … })`;

function checked(module: string, loaded: { readonly default?: unknown }): Definition {
  const fault = faultOf(loaded);
  if (fault !== undefined) throw new UsageError(`Cannot run ${basename(module)}: ${fault}`);
  // Its fields have been looked at one by one; their types are the author's word.
  return loaded.default as Definition;
}

function faultOf(loaded: { readonly default?: unknown }): string | undefined {
  if (!("default" in loaded)) return `it has no default export; write ${how}`;
  const definition: unknown = loaded.default;
  if (typeof definition === "function") return `its default export is a function; write ${how}`;
  if (typeof definition !== "object" || definition === null || Array.isArray(definition)) {
    return `its default export is no definition of sessions; write ${how}`;
  }
  if ("consume" in definition && "drain" in definition) {
    return `its default export is a router; write ${how}`;
  }
  const fields = definition as Readonly<Record<string, unknown>>;
  if (fields["session"] === undefined && fields["message"] === undefined) {
    return "its default export has no handler: neither session nor message";
  }
  for (const name of ["parse", "key", "session", "message"]) {
    const field = fields[name];
    if (field !== undefined && typeof field !== "function") {
      return `its ${name} is not a function`;
    }
  }
  if (fields["sink"] !== undefined && fields["output"] !== undefined) {
    return "it has both output and sink: only one of them can take what the handlers return";
  }
  return undefined;
}
