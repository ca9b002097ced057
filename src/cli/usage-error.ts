import { errorText } from "../session/report.ts";

/** The command was used in a way that cannot work: its message is shown on one line, and the exit status is 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly code = "HEDDLE_USAGE";
}

/** The first line of what `error` says. */
export function messageOf(error: unknown): string {
  return errorText(error).split("\n", 1)[0] ?? "";
}

/** The `code` of a system's error. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
