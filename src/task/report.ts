// The errors that nobody is there to be thrown to.
import { inspect } from "node:util";

/**
 * Reports an error that cannot be thrown to anybody, as a warning of the
 * process: `process.on("warning", …)` sees it, and by default it is printed.
 *
 * @internal
 */
export function report(text: string, error: unknown): void {
  process.emitWarning(text, {
    type: "HeddleWarning",
    code: "HEDDLE_UNREAD",
    detail: inspect(error),
  });
}
