// Message style, an async handler: each call is a task in its own async context.
import { SessionRouter } from "heddle/session";
import type { Contender } from "../support/contender.ts";
import { everything, heddle } from "../support/heddle.ts";
import { work } from "../support/work.ts";

export function open(): Contender {
  const router = new SessionRouter({
    ...everything,
    message: async (message, session) => work(session.state, message),
  });
  return heddle(router);
}
