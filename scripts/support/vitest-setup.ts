// Some tests run the built command: dist/ is brought up to date once, before all of them.
import { build } from "../build.ts";

export function setup(): void {
  const complaints = build({ ifStale: true });
  // Said, not thrown: a type error is for `npm run types` to fail on, and tests
  // of what does compile are of use all the same.
  if (complaints !== "") console.error(`dist/ was built with errors:\n${complaints}`);
}
