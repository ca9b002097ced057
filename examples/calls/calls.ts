// The calls of the report for `heddle run`: what its service could not take is
// one option each here.
import { defineSessions } from "heddle/session";

interface CallEvent {
  readonly unid: string;
  readonly msg: "start" | "talk" | "end";
}

export default defineSessions({
  key: (event: CallEvent) => event.unid,
  // A message for a call that has not started, or is over, becomes a dead letter.
  starts: (event) => event.msg === "start",
  ends: (event) => event.msg === "end",
  // A second start ends the first call properly before the new one begins.
  duplicateStart: "replace",
  // A call whose end never comes is over after a minute of silence.
  idleMs: 60_000,

  async session(call) {
    let messages = 0;
    for await (const _event of call) messages += 1;
    return { call: call.key, messages, over: call.endReason };
  },
});
