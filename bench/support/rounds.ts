// The measuring loop. Not tinybench: it runs its tasks one after the other in one
// process, and here neither may be: contenders would share a heap and the JIT's
// type feedback, and a machine that slows down would fall upon one of them alone.
import { MissingError, type Promised, type Question, type Row, type Settings } from "./question.ts";

export interface RowResult {
  readonly id: string;
  readonly label: string;
  /** One value a round, in the order of the rounds; empty when it is missing */
  readonly values: readonly number[];
  readonly median: number;
  readonly missing?: string;
}

export interface PromiseResult extends Promised {
  /** `undefined` when one of its rows is missing */
  readonly measured: number | undefined;
  readonly met: boolean | undefined;
}

export interface QuestionResult {
  readonly name: string;
  readonly title: string;
  readonly unit: Question["unit"];
  readonly base: string;
  readonly rows: readonly RowResult[];
  readonly promises: readonly PromiseResult[];
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** The median of the ratios of each round: what slows a round slows both its sides. */
export function ratio(row: RowResult, against: RowResult): number | undefined {
  if (row.missing !== undefined || against.missing !== undefined) return undefined;
  return median(row.values.map((value, round) => value / (against.values[round] as number)));
}

export async function ask(
  question: Question,
  settings: Settings,
  progress: (what: string) => void,
): Promise<QuestionResult> {
  const values = new Map<Row, number[]>(question.rows.map((row) => [row, []]));
  const missing = new Map<Row, string>();
  for (let round = 1; round <= settings.rounds; round++) {
    for (const row of question.rows) {
      if (missing.has(row)) continue;
      progress(`${question.name} ${round}/${settings.rounds}: ${row.label}`);
      try {
        values.get(row)?.push(await row.measure(settings));
      } catch (error) {
        if (!(error instanceof MissingError)) throw error;
        missing.set(row, error.message);
      }
    }
  }
  const rows = question.rows.map((row) => result(row, values.get(row) ?? [], missing.get(row)));
  return {
    name: question.name,
    title: question.title,
    unit: question.unit,
    base: question.base,
    rows,
    promises: question.promises.map((promised) => judged(promised, rows)),
  };
}

function result({ id, label }: Row, values: readonly number[], missing?: string): RowResult {
  if (missing !== undefined) return { id, label, values: [], median: NaN, missing };
  return { id, label, values, median: median(values) };
}

function judged(promised: Promised, rows: readonly RowResult[]): PromiseResult {
  const row = find(rows, promised.row);
  const measured =
    promised.against !== undefined
      ? ratio(row, find(rows, promised.against))
      : row.missing === undefined
        ? row.median
        : undefined;
  if (measured === undefined) return { ...promised, measured, met: undefined };
  const { atLeast = -Infinity, atMost = Infinity } = promised;
  return { ...promised, measured, met: measured >= atLeast && measured <= atMost };
}

function find(rows: readonly RowResult[], id: string): RowResult {
  const row = rows.find((candidate) => candidate.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return row;
}
