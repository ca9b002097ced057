// The little that the checks need of a syntax tree.
import { parseSync } from "oxc-parser";

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface ImportFound {
  readonly specifier: string;
  /** `import()` at run time, as against a declaration or a type */
  readonly dynamic: boolean;
  readonly line: number;
}

export interface CommentFound {
  /** Without the marks around it */
  readonly text: string;
  readonly block: boolean;
  readonly start: number;
  readonly end: number;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Node).type === "string";
}

function* nodesOf(value: unknown): Generator<Node> {
  if (Array.isArray(value)) {
    for (const item of value) yield* nodesOf(item);
  } else if (isNode(value)) {
    yield value;
    for (const field of Object.values(value)) {
      if (typeof field === "object") yield* nodesOf(field);
    }
  }
}

function parse(path: string, source: string): ReturnType<typeof parseSync> {
  const parsed = parseSync(path, source);
  const error = parsed.errors.find(({ severity }) => severity === "Error");
  if (error !== undefined) throw new SyntaxError(`Cannot read ${path}: ${error.message}`);
  return parsed;
}

export function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

/** Everything that `source` imports under a literal name: declarations, re-exports, `import()` and types. */
export function importsOf(path: string, source: string): ImportFound[] {
  const found: ImportFound[] = [];
  for (const node of nodesOf(parse(path, source).program)) {
    // `import("x")` has a source at run time and as a type alike.
    const named = node.type.startsWith("TSExternalModule") ? node["expression"] : node["source"];
    if (!isNode(named) || typeof named["value"] !== "string") continue;
    found.push({
      specifier: named["value"],
      dynamic: node.type === "ImportExpression",
      line: lineAt(source, node.start),
    });
  }
  return found;
}

export function commentsOf(path: string, source: string): CommentFound[] {
  return parse(path, source).comments.map(({ type, value, start, end }) => ({
    text: value,
    block: type === "Block",
    start,
    end,
  }));
}
