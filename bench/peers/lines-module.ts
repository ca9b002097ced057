// A module as small as one can be, for `heddle run`.
import { defineSessions } from "heddle/session";

let bytes = 0;

// oxlint-disable-next-line import/no-default-export -- what `heddle run` loads
export default defineSessions({
  key: (line: { readonly key: string; readonly text: string }) => line.key,
  message(line) {
    bytes += line.text.length;
  },
});
