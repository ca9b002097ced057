// Loop style: one task per live key that iterates its session.
import { SessionRouter } from "heddle/session";
import type { Contender } from "../support/contender.ts";
import { everything, heddle } from "../support/heddle.ts";
import { work } from "../support/work.ts";

export function open(): Contender {
  const router = new SessionRouter({
    ...everything,
    async session(session) {
      for await (const message of session) work(session.state, message);
    },
  });
  return heddle(router);
}
