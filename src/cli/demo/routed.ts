// The same service on the session router, which has the queues, the tasks, the
// manager and the end of each of them.
import { SessionRouter } from "../../session/router.ts";
import type { DemoRun } from "../demo.ts";
import { productMsg, type CallEvent } from "./producer.ts";
import { runProgram, type DemoOutcome } from "./program.ts";

export function run(options: DemoRun): Promise<DemoOutcome> {
  return runProgram(async (print) => {
    const router = new SessionRouter({
      key: (event: CallEvent) => event.unid,
      starts: (event) => event.msg === "start",
      ends: (event) => event.msg === "end",
      async session(call) {
        for await (const event of call) {
          print(`consumer recv ${JSON.stringify(event)}`);
          print(`recv unid [${call.key}] is ${event.msg}`);
        }
      },
    });
    try {
      await productMsg((event) => router.send(event));
    } finally {
      await router.drain();
    }
  }, options);
}
