// Message style, a handler without a promise.
import { SessionRouter } from "heddle/session";
import type { Contender } from "../support/contender.ts";
import { everything, heddle } from "../support/heddle.ts";
import { work } from "../support/work.ts";

export function open(): Contender {
  const router = new SessionRouter({
    ...everything,
    message: (message, session) => work(session.state, message),
  });
  return heddle(router);
}
