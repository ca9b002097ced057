// Results as tables in Markdown, which reads well on a terminal too.
import { ratio, type PromiseResult, type QuestionResult, type RowResult } from "./rounds.ts";

export function tables(results: readonly QuestionResult[], promised: boolean): string {
  const parts = results.map((result) => `## ${result.title}\n\n${measurements(result)}`);
  const rows = results.flatMap((result) => result.promises);
  parts.push(`## Promised\n\n${promises(rows, promised)}`);
  return parts.join("\n\n");
}

function measurements({ unit, base, rows }: QuestionResult): string {
  const baseRow = rows.find((row) => row.id === base) as RowResult;
  const short = base === "hand-written" ? "hand-written loop" : baseRow.label;
  return table(
    ["", unit, "lowest to highest", `ratio to ${short}`],
    rows.map((row) => {
      if (row.missing !== undefined) return [row.label, "missing", row.missing, ""];
      const range = `${amount(Math.min(...row.values))} to ${amount(Math.max(...row.values))}`;
      return [row.label, amount(row.median), range, times(ratio(row, baseRow))];
    }),
  );
}

function promises(rows: readonly PromiseResult[], promised: boolean): string {
  return table(
    ["figure", "measured", "target", ""],
    rows.map(({ what, against, measured, atLeast, atMost, met }) => {
      const figure = (value: number | undefined): string =>
        against === undefined && value !== undefined ? amount(value) : times(value);
      const target = atLeast === undefined ? `≤ ${figure(atMost)}` : `≥ ${figure(atLeast)}`;
      const verdict = met === undefined ? "not measured" : met ? "met" : "missed";
      return [what, figure(measured), target, promised ? verdict : "not promised here"];
    }),
  );
}

function times(value: number | undefined): string {
  return value === undefined ? "–" : `${value.toPrecision(3)} ×`;
}

function amount(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 10_000) return `${(value / 1e3).toFixed(0)} k`;
  return value.toFixed(value < 100 ? 1 : 0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, n) =>
    Math.max(3, name.length, ...rows.map((row) => (row[n] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, n) => (n === 0 ? (cells[n] ?? "").padEnd(width) : (cells[n] ?? "").padStart(width))).join(" | ")} |`;
  const rule = `| ${widths.map((width, n) => (n === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [line(head), rule, ...rows.map(line)].join("\n");
}
