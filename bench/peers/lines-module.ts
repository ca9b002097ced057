// A module as small as one can be, for `heddle run`.
import { defineSessions } from "heddle/session";

let bytes = 0;

export default defineSessions({
  key: (line: { readonly key: string; readonly text: string }) => line.key,
  message(line) {
    bytes += line.text.length;
  },
});
