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
const boundBytes = 100 * 1_000_000;
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

  let most = 0;
  let start: number | undefined;
  const watch = setInterval(() => {
    const { rss } = process.memoryUsage();
    // What it takes to get going is not what grows.
    if (bytes > 20_000_000) start ??= rss;
    most = Math.max(most, rss);
  }, 50);
  const startedAt = performance.now();
  await router.consume(linesSource({ input: stream(), ...(parse === undefined ? {} : { parse }) }));
  const { pending } = await router.drain();
  await sink.close();
  clearInterval(watch);

  const { handled } = router.statistics();
  const seconds = (performance.now() - startedAt) / 1_000;
  const growth = most - (start ?? most);
  console.log(
    `${name}: ${handled} messages, ${(bytes / 1e6).toFixed(0)} MB in ${seconds.toFixed(1)} s; ` +
      `at most ${(most / 1e6).toFixed(0)} MB in use, ${(growth / 1e6).toFixed(0)} MB more than at the beginning`,
  );
  if (handled !== made) throw new Error(`${made} lines were made and ${handled} handled`);
  if (pending !== 0) throw new Error(`${pending} pending`);
  if (written === 0) throw new Error("nothing was written");
  if (growth > boundBytes) throw new Error(`memory grew by ${(growth / 1e6).toFixed(0)} MB`);
}

await run("JSON");
await run("text", (line) => {
  const [, key = "", n = "0", text = ""] =
    /"key":"(.*?)","n":(\d+),"text":"(.*?)"/.exec(line) ?? [];
  return { key, n: Number(n), text };
});
