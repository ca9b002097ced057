import type { Contender } from "./contender.ts";

export interface Settings {
  /** The node binary that the children run on */
  readonly node: string;
  /** Small sizes and short times: to see that it works, not to believe the figures */
  readonly quick: boolean;
  readonly rounds: number;
}

/** What a child is told to do; a plain object, because children in Python and Go read it too. */
export type Plan = Readonly<Record<string, number | string>>;

export interface Row {
  readonly id: string;
  readonly label: string;
  /** @throws {MissingError} If what it measures is not there */
  measure(settings: Settings): Promise<number> | number;
}

/** A figure of the table of promises. `against`: the ratio to that row; without it, the value itself. */
export interface Promised {
  readonly what: string;
  readonly row: string;
  readonly against?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Question {
  readonly name: string;
  readonly title: string;
  readonly unit: "messages/s" | "sessions/s" | "lines/s" | "bytes" | "ns";
  /** The row that the others are compared with in the table */
  readonly base: string;
  readonly rows: readonly Row[];
  readonly promises: readonly Promised[];
  /** Runs in the child, in a process of its own for every contender and round */
  readonly inChild?: (open: () => Contender | Promise<Contender>, plan: Plan) => Promise<number>;
}

/** What a contender lacks here; its row says so and the run goes on. */
export class MissingError extends Error {
  override readonly name = "MissingError";
}
