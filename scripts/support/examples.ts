// Finds the examples: ```ts blocks of Markdown, and those under `@example` in
// the doc comments of what is public.
import { commentsOf, lineAt } from "./syntax.ts";

export interface Example {
  readonly path: string;
  /** Of the first line of its code */
  readonly line: number;
  readonly code: string;
  /** Why it is not run, from "```ts no-run why"; `""` when no reason was given; `undefined` when it is run */
  readonly notRun: string | undefined;
}

/** The ```ts blocks in `lines`, the first of which is line `firstLine` of the file. */
function blocksIn(path: string, lines: readonly string[], firstLine: number): Example[] {
  const examples: Example[] = [];
  let open: { fence: string; indent: number; info: string; from: number } | undefined;
  for (const [index, line] of lines.entries()) {
    const [, indent = "", fence = "", info = ""] = /^(\s*)(`{3,})\s*(.*)$/.exec(line) ?? [];
    if (open === undefined) {
      if (fence !== "") open = { fence, indent: indent.length, info, from: index + 1 };
    } else if (fence.length >= open.fence.length && info === "") {
      const { indent: width, from } = open;
      const [language, mark, ...reason] = open.info.trim().split(/\s+/);
      if (language === "ts") {
        examples.push({
          path,
          line: firstLine + from,
          code: lines
            .slice(from, index)
            .map((each) => each.slice(Math.min(width, each.length - each.trimStart().length)))
            .join("\n"),
          notRun: mark === "no-run" ? reason.join(" ") : undefined,
        });
      }
      open = undefined;
    }
  }
  return examples;
}

export function examplesInMarkdown(path: string, text: string): Example[] {
  return blocksIn(path, text.split("\n"), 1);
}

export function examplesInSource(path: string, source: string): Example[] {
  return commentsOf(path, source).flatMap(({ text, block, start }) => {
    if (!block || !text.startsWith("*") || /@internal\b/.test(text)) return [];
    const firstLine = lineAt(source, start);
    const lines = text.split("\n").map((line) => line.replace(/^\s*\*? ?/, ""));
    return sectionsOf(lines).flatMap(([from, to]) =>
      blocksIn(path, lines.slice(from, to), firstLine + from),
    );
  });
}

/** Where each `@example` begins and ends; a tag within a code block ends nothing. */
function sectionsOf(lines: readonly string[]): [from: number, to: number][] {
  const sections: [number, number][] = [];
  let from: number | undefined;
  let inCode = false;
  for (const [index, line] of [...lines, "@end"].entries()) {
    if (line.trimStart().startsWith("```")) inCode = !inCode;
    const tag = inCode ? undefined : /^\s*@(\w+)/.exec(line)?.[1];
    if (tag === undefined) continue;
    if (from !== undefined) sections.push([from, index]);
    from = tag === "example" ? index : undefined;
  }
  return sections;
}
