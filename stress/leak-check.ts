// Tens of thousands of sessions, in both styles, that end in every way there is:
// by an end message, idle, failed, cancelled, evicted, drained, with children,
// timers and waits under way. After each round nothing of them may be left.
//
//   node --expose-gc stress/leak-check.ts [--leak sessions|memory|tasks|timers|listeners]
//
// `--leak` leaks on purpose, to see that each of the looks at the end can fail.
import { getEventListeners } from "node:events";
import { parseArgs } from "node:util";
import {
  allTasks,
  cancellable,
  createTask,
  Event,
  gather,
  Lock,
  Queue,
  rethrowIfCancelled,
  sleep,
  sleepForever,
  taskGroup,
  timeout,
  TimeoutError,
  waitFor,
} from "heddle";
import {
  SessionRouter,
  type EndReason,
  type Session,
  type SessionRouterOptions,
} from "heddle/session";

const { leak } = parseArgs({ options: { leak: { type: "string" } } }).values;
const warmUps = 2;
const rounds = 5;
const sessionsPerRouter = 1_500;
/** The most that the heap may have grown by, for each session of the rounds that are measured, in bytes */
const bytesPerSession = 16;
/** How many of its last sessions a router that goes on may still have a hand on */
const rememberedPerRouter = 64;

/** What the sessions are there to do; each key does one of them. */
const ways = [
  "end",
  "fail",
  "failAfterwards",
  "beCancelled",
  "cancelItself",
  "timeOut",
  "haveChildren",
  "sendLater",
  "goQuiet",
  "listen",
  "waitInLine",
  "save",
  "beCalled",
  "beStuck",
] as const;

interface Message {
  readonly key: string;
  readonly way: (typeof ways)[number];
  readonly n: number;
  readonly last: boolean;
}

// What outlives every session, and so must not hold on to any.
const shared = {
  lock: new Lock(),
  queue: new Queue<never>(),
  event: new Event(),
  never: new Promise<never>(() => {}),
  signal: new AbortController().signal,
};

/** Of the round under way */
let seen: WeakRef<Session>[] = [];
const known = new WeakSet<Session>();
let sessions = 0;
let started = 0;
let ended = 0;
const endedAs: Partial<Record<EndReason, number>> = {};
const leaked: unknown[] = [];

/** A send that came too late, found no room in time, or whose message was given up. */
function refused(): void {}

function count(router: Router): void {
  for (const [reason, number] of Object.entries(router.statistics().ended)) {
    if (number > 0) endedAs[reason as EndReason] = (endedAs[reason as EndReason] ?? 0) + number;
  }
}

function meet(session: Session): void {
  if (known.has(session)) return;
  known.add(session);
  seen.push(new WeakRef(session));
  sessions++;
  if (leak === "sessions") leaked.push(session);
  if (leak === "memory") leaked.push({ key: session.key });
}

async function work(message: Message, session: Session<Message, string>): Promise<void> {
  switch (message.way) {
    case "fail":
      if (message.n === 1) throw new Error("a failure");
      return;
    case "cancelItself":
      if (message.n === 1) session.cancel("no longer wanted");
      return;
    case "timeOut":
      try {
        await timeout(0, () => sleepForever());
      } catch (error) {
        rethrowIfCancelled(error);
        if (!(error instanceof TimeoutError)) throw error;
      }
      await waitFor(cancellable(shared.never), 0).catch(rethrowIfCancelled);
      return;
    case "haveChildren":
      session.createTask(() => sleepForever());
      session.createTask(() => taskGroup((group) => group.createTask(() => sleepForever())));
      await gather([async () => 1, () => sleep(0)]);
      return;
    case "sendLater":
      session.sendAfter(60_000, message);
      return;
    case "listen":
      session.signal.addEventListener("abort", () => {});
      await timeout(1, () => shared.event.wait({ signal: shared.signal })).catch(
        rethrowIfCancelled,
      );
      return;
    case "waitInLine":
      await waitFor(shared.queue.get(), 0).catch(rethrowIfCancelled);
      await waitFor(shared.lock.acquire(), 0).catch(rethrowIfCancelled);
      return;
    case "save":
      session.state = message.n;
      await session.save();
      return;
    case "beCancelled":
    case "beStuck":
      if (message.n === 1) await sleepForever();
      return;
    default:
      if (message.n === 0) await sleep(0);
  }
}

function optionsOf(
  style: "loop" | "message",
  more: Partial<SessionRouterOptions<Message, string, number>>,
): SessionRouterOptions<Message, string, number> {
  const common = {
    key: (message: Message) => message.key,
    ends: (message: Message) => message.last,
    state() {
      started++;
      return 0;
    },
    ended: () => void ended++,
    stopped: () => void ended++,
    output: () => {},
    idleMs: 5,
    inboxSize: 2,
    graceMs: 1_000,
    retryDelayMs: () => 0,
  };
  const options =
    style === "loop"
      ? {
          ...common,
          async session(session: Session<Message, string, number>): Promise<string> {
            meet(session);
            let way: Message["way"] = "end";
            for await (const message of session) {
              way = message.way;
              await work(message, session);
            }
            if (way === "failAfterwards") throw new Error("a failure after the loop");
            return session.key;
          },
        }
      : {
          ...common,
          attempts: 2,
          async message(message: Message, session: Session<Message, string, number>) {
            meet(session);
            await work(message, session);
            return message.n;
          },
        };
  return { ...options, ...more } as SessionRouterOptions<Message, string, number>;
}

type Router = SessionRouter<Message, string, number>;

/** Three messages for each of many keys, interleaved, and what else happens to them meanwhile. */
async function play(router: Router, name: string, count: number): Promise<void> {
  const sends: Promise<unknown>[] = [];
  const keyOf = (n: number): string => `${name}/${n}`;
  const send = (n: number, step: number): void => {
    const way = ways[n % ways.length] ?? "end";
    if (way === "goQuiet" && step === 2) return;
    const message = { key: keyOf(n), way, n: step, last: step === 2 };
    const sending =
      way === "beCalled"
        ? waitFor(router.call(message, { signal: shared.signal }), 50)
        : router.send(message, { signal: shared.signal });
    sends.push(sending.catch(refused));
  };
  const behind = 50;
  for (let n = 0; n < count + behind; n++) {
    for (const [step, back] of [0, behind / 2, behind].entries()) {
      const key = n - back;
      if (key >= 0 && key < count) send(key, step);
    }
    const gone = n - behind;
    if (ways[gone % ways.length] === "beCancelled") router.cancel(keyOf(gone), "no longer wanted");
    if (n % 100 === 0) await sleep(1);
  }
  // What is stuck holds places that others wait for, until it is cancelled.
  const settled = Promise.all(sends);
  let sent = false;
  void settled.then(() => (sent = true));
  do {
    for (const session of stuckIn(router)) session.cancel("stuck for too long");
    await sleep(2);
  } while (!sent || stuckIn(router).length > 0);
}

function stuckIn(router: Router): Session[] {
  return [...router.sessions()].filter(({ key }) => {
    const way = ways[Number(key.slice(key.indexOf("/") + 1)) % ways.length];
    return way === "beStuck" || way === "beCancelled";
  });
}

/** Routers that live for one round. */
async function passingRouters(round: number): Promise<void> {
  const bounds = [
    {},
    { maxLive: 40, evict: "idlest" as const, idleMs: 60_000 },
    { maxRunning: 20, deadLetter: () => sleep(0) },
  ];
  for (const style of ["loop", "message"] as const) {
    for (const [n, more] of bounds.entries()) {
      const router: Router = new SessionRouter(optionsOf(style, more));
      const playing = play(router, `${style}-${round}-${n}`, sessionsPerRouter / bounds.length);
      // The last of them are still at work, or wait for what never comes, when it has to stop.
      if (n === 0) await sleep(5);
      else await playing;
      const { pending, ignored } = await router.drain({ deadlineMs: 5 });
      await playing;
      expect(pending, 0, `tasks pending after the drain of ${style} ${n}: ${ignored.join()}`);
      expect(router.statistics().live, 0, "sessions live after a drain");
      count(router);
    }
  }
}

/** Routers that live for ever: what piles up within one shows here. */
// Nor do they keep letters, whose errors have stacks that keep what stands in them.
const lasting: readonly Router[] = (["loop", "message"] as const).map(
  (style) => new SessionRouter(optionsOf(style, { deadLetter: "drop" })),
);

async function lastingRouters(round: number): Promise<void> {
  for (const router of lasting) {
    await play(router, `lasting-${round}`, sessionsPerRouter);
    await router.join();
    for (let waited = 0; router.statistics().live > 0 && waited < 200; waited++) await sleep(5);
    const { live, queued, held, running, leftovers } = router.statistics();
    expect(live, 0, "sessions live after all have ended");
    expect(queued + held.messages + running, 0, "messages or handlers under way");
    expect(leftovers, 0, "things that sessions left behind");
  }
}

let failures = 0;

function expect(value: number, most: number, what: string): void {
  if (value <= most) return;
  failures++;
  console.error(`LEAK  ${value} ${what}, at most ${most} expected`);
}

async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve));
}

/** What keeps the process alive, by kind. */
function resources(): string {
  return process
    .getActiveResourcesInfo()
    .filter((kind) => kind !== "Immediate")
    .toSorted()
    .join(" ");
}

/** The heap when everything that can be collected has been. */
async function heapNow(): Promise<number> {
  if (globalThis.gc === undefined) throw new Error("Cannot check: start node with --expose-gc");
  for (let n = 0; n < 3; n++) {
    await turns(2);
    globalThis.gc();
  }
  return process.memoryUsage().heapUsed;
}

async function look(round: number, before: string): Promise<number> {
  const tasks = allTasks();
  expect(tasks.length, 0, `tasks, such as ${String(tasks[0])}`);
  expect(started - ended, 0, "sessions of whose end nobody was told");
  const listeners = getEventListeners(shared.signal, "abort").length;
  expect(listeners, 0, "listeners on a signal that lives on");
  if (resources() !== before) {
    failures++;
    console.error(`LEAK  the process is kept alive by "${resources()}", before by "${before}"`);
  }
  const heap = await heapNow();
  const alive = seen.flatMap((ref) => ref.deref()?.key ?? []) as string[];
  const ofLasting = alive.filter((key) => key.startsWith("lasting")).length;
  expect(
    ofLasting,
    rememberedPerRouter * lasting.length,
    "sessions that a router cannot let go of",
  );
  if (round > 0) expect(alive.length - ofLasting, 0, "sessions of routers that are gone");
  seen = [];
  return heap;
}

const startedAt = performance.now();
// Somebody holds the lock all along, so that those who wait for it wait in vain.
await shared.lock.acquire();
await heapNow();
const before = resources();
const heaps: number[] = [];
let measuredFrom = 0;
for (let round = 0; round < warmUps + rounds; round++) {
  await passingRouters(round);
  await lastingRouters(round);
  if (leak === "tasks") createTask(() => sleepForever());
  if (leak === "timers") setTimeout(() => {}, 60_000);
  if (leak === "listeners") shared.signal.addEventListener("abort", () => {});
  const heap = await look(round, before);
  if (round === warmUps - 1) measuredFrom = sessions;
  if (round >= warmUps) heaps.push(heap);
  if (failures > 0) break;
}
const measured = sessions - measuredFrom;
// The lesser of two, at both ends: once in a while the collector leaves something for next time.
const grown = Math.round(Math.min(...heaps.slice(-2)) - Math.min(...heaps.slice(0, 2)));
if (failures === 0)
  expect(grown, bytesPerSession * measured, `bytes more after ${measured} sessions`);
for (const router of lasting) {
  await router.drain();
  count(router);
}
// A check that plays less than it says would find nothing.
for (const reason of ["ended", "idle", "failed", "cancelled", "evicted", "drained"] as const) {
  if (failures === 0 && endedAs[reason] === undefined) throw new Error(`No session is ${reason}`);
}

const ends = Object.entries(endedAs);
const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
console.log(`${sessions} sessions in ${seconds} s: ${ends.map((end) => end.join(" ")).join(", ")}`);
if (heaps.length === rounds) {
  const megabytes = heaps.map((heap) => (heap / 1e6).toFixed(2)).join(", ");
  console.log(
    `heap after each round: ${megabytes} MB, ${(grown / measured).toFixed(1)} B more for each session`,
  );
}
console.log(failures === 0 ? "nothing left" : `${failures} leaks`);
// Timers that were leaked on purpose must not keep it waiting.
process.exit(failures === 0 ? 0 : 1);
