// Where an error goes that is nobody's to catch: what `ended` threw, a delivery
// that could not be settled, a handler that ignores its cancellation.
import { channel } from "node:diagnostics_channel";

const problems = channel("heddle:problem");

/**
 * What was thrown, in words. Anything may be thrown, also what cannot be made a
 * string of.
 *
 * @internal
 */
export function errorText(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return "something that cannot be shown";
  }
}

/**
 * Tells whoever listens on the diagnostics channel `heddle:problem`
 * (`{ text, error }`); a process warning when nobody does.
 *
 * @internal
 */
export function report(text: string, error?: unknown): void {
  if (problems.hasSubscribers) {
    problems.publish({ text, error });
    return;
  }
  const cause = error === undefined ? "" : `: ${errorText(error)}`;
  const warning = new Error(`${text}${cause}`, error === undefined ? undefined : { cause: error });
  warning.name = "HeddleWarning";
  process.emitWarning(warning);
}
