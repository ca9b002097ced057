// Does a message cost more when very many sessions are alive? 300,000 messages in a
// shuffled order, over and over, for 300,000 live keys and for 1,000. One turn after
// every 1,000 messages, so that with few keys too most find their session quiet.
import type { Contender } from "./support/contender.ts";
import { feed, feedFor } from "./support/feed.ts";
import { row } from "./support/processes.ts";
import type { Plan, Question, Row, Settings } from "./support/question.ts";
import { totals, type Message } from "./support/work.ts";

const contenders = ["bare", "hand-written", "heddle-message", "heddle-async", "heddle-loop"];
const few = 1_000;
const many = 300_000;

function plan(live: number): (settings: Settings) => Plan {
  return ({ quick }) => ({
    live: quick && live === many ? 30_000 : live,
    chunk: 1_000,
    warmMs: quick ? 100 : 1_000,
    measureMs: quick ? 100 : 1_500,
  });
}

function message(session: number, kind: Message["kind"]): Message {
  return { key: `session-${session}`, kind, n: 1 };
}

/** Always the same order, so that runs can be compared. */
function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  let seed = 1;
  for (let n = result.length - 1; n > 0; n--) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((seed / 2 ** 32) * (n + 1));
    [result[n], result[other]] = [result[other] as T, result[n] as T];
  }
  return result;
}

async function nsPerMessage(
  open: () => Contender | Promise<Contender>,
  { live, chunk, warmMs, measureMs }: Plan,
): Promise<number> {
  const contender = await open();
  const count = Number(live);
  const starts = Array.from({ length: count }, (_, n) => message(n, "start"));
  // As many message objects for few keys as for many, so that only sessions differ.
  const messages = shuffled(Array.from({ length: many }, (_, n) => message(n % count, "msg")));

  await feed(contender, starts, Number(chunk));
  await feedFor(Number(warmMs), contender, messages, Number(chunk));
  const { handled, ms } = await feedFor(Number(measureMs), contender, messages, Number(chunk));

  if (totals.started !== count || totals.ended !== 0) {
    throw new Error(`wrong counts: ${JSON.stringify(totals)}`);
  }
  await contender.check?.(totals);
  return (ms * 1e6) / handled;
}

function rows(contender: string): Row[] {
  return [few, many].map((live) =>
    row("scale", contender, plan(live), {
      id: `${contender} ${live}`,
      suffix: `, ${live.toLocaleString("en")} live`,
      // Millions of young messages and sessions: the default heap is too small on a small machine.
      flags: ["--max-old-space-size=4096"],
    }),
  );
}

export const question: Question = {
  name: "scale",
  title: "cost of a message at 300,000 live sessions against 1,000",
  unit: "ns",
  base: `bare ${few}`,
  rows: contenders.flatMap(rows),
  promises: [
    ["message style, no promise", "heddle-message", 3],
    ["message style, async", "heddle-async", 3],
    ["loop style", "heddle-loop", 4],
  ].map(([what, contender, atMost]) => ({
    what: `${what}, 300,000 / 1,000`,
    row: `${contender} ${many}`,
    against: `${contender} ${few}`,
    atMost: Number(atMost),
  })),
  inChild: nsPerMessage,
};
