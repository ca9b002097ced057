// A file of any size runs in constant memory: a generated stream of JSON lines
// through source, router and sink, while the process's memory is watched.
//
//   node --expose-gc stress/lines-memory.ts [MEGABYTES]
//
// 500 MB unless told otherwise; 5,000 for the promise as it is made. Every
// session keeps a text of its last message, so that a line which keeps its
// whole chunk alive would show.
import { Readable, Writable } from "node:stream";
import { linesSink, linesSource } from "heddle/lines";
import { SessionRouter } from "heddle/session";

const megabytes = Number(process.argv[2] ?? 500);
/** What may be alive: the chunks, the credit, the sessions; the same at 50 MB and at 5 GB. */
const aliveBound = 80 * 1_000_000;
/** What the collector may let lie about besides; it does not grow with the input either. */
const residentBound = 600 * 1_000_000;
const keys = 1_000;

interface Message {
  readonly key: string;
  readonly n: number;
  readonly text: string;
}

let made = 0;
let bytes = 0;

function chunk(): string {
  let text = "";
  while (text.length < 64 * 1_024) {
    const n = made++;
    text += `${JSON.stringify({ key: `key-${n % keys}`, n, text: `message ${n} ${"x".repeat(100)}` })}\n`;
  }
  bytes += text.length;
  return text;
}

function stream(): Readable {
  return new Readable({
    read() {
      this.push(bytes < megabytes * 1_000_000 ? chunk() : null);
    },
  });
}

async function run(name: string, parse?: (line: string) => Message): Promise<void> {
  made = 0;
  bytes = 0;
  const kept = new Map<string, string>();
  let written = 0;
  const nowhere = new Writable({
    write(data: Buffer, _encoding, done) {
      written += data.length;
      done();
    },
  });
  const sink = linesSink({ output: nowhere });
  const router = new SessionRouter({
    key: (message: Message) => message.key,
    message(message) {
      kept.set(message.key, message.text);
      return message.n % 10 === 0 ? { n: message.n } : undefined;
    },
    output: (value) => sink.write(value),
  });

  let alive = 0;
  let resident = 0;
  const watch = setInterval(() => {
    resident = Math.max(resident, process.memoryUsage().rss);
  }, 50);
  const looking = setInterval(() => {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    alive = Math.max(alive, heapUsed + external);
  }, 1_000);
  const startedAt = performance.now();
  await router.consume(linesSource({ input: stream(), ...(parse === undefined ? {} : { parse }) }));
  const { pending } = await router.drain();
  await sink.close();
  clearInterval(watch);
  clearInterval(looking);

  const { handled } = router.statistics();
  const seconds = (performance.now() - startedAt) / 1_000;
  console.log(
    `${name}: ${handled} messages, ${(bytes / 1e6).toFixed(0)} MB in ${seconds.toFixed(1)} s; ` +
      `at most ${(alive / 1e6).toFixed(0)} MB alive, ${(resident / 1e6).toFixed(0)} MB resident`,
  );
  if (handled !== made) throw new Error(`${made} lines were made and ${handled} handled`);
  if (pending !== 0) throw new Error(`${pending} pending`);
  if (written === 0) throw new Error("nothing was written");
  if (alive > aliveBound) throw new Error(`${(alive / 1e6).toFixed(0)} MB were alive`);
  if (resident > residentBound) throw new Error(`${(resident / 1e6).toFixed(0)} MB were resident`);
}

await run("JSON");
await run("text", (line) => {
  const [, key = "", n = "0", text = ""] =
    /"key":"(.*?)","n":(\d+),"text":"(.*?)"/.exec(line) ?? [];
  return { key, n: Number(n), text };
});
