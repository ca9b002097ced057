// What must hold when a program has come to rest, and when it has been drained:
// the seven promises of the contract, as far as they can only be told then.
import { allTasks } from "../../../doors/heddle.ts";
import type { Dispatcher } from "../../dispatcher.ts";
import { lostWhileSettling, type Arrival, type World } from "./world.ts";

/** Promise 2: first come, first handled. */
export function checkOrder(world: World): void {
  // In order of time: `event-time.test.ts` compares with the sorted input.
  if (world.options.latenessMs !== undefined) return;
  for (const [key, entries] of world.entries) {
    for (let at = 0; at < entries.length; at++) {
      for (let later = at + 1; later < entries.length; later++) {
        const first = entries[at] as Arrival;
        const second = entries[later] as Arrival;
        if (mustPrecede(second, first))
          world.breach(
            `order of ${key}: ${describe(world, first)} before ${describe(world, second)}`,
          );
      }
    }
  }
}

function mustPrecede(one: Arrival, other: Arrival): boolean {
  return (
    (one.way === other.way && one.calledAt < other.calledAt) || one.acceptedAt < other.calledAt
  );
}

function describe(world: World, arrival: Arrival): string {
  const message = world.messages.find(({ arrivals }) => arrivals.includes(arrival));
  return `message ${message?.n} (${arrival.way})`;
}

/** Nothing stuck: what still waits at rest, waits for something that may come. */
export function checkRest(world: World): void {
  const d = world.dispatcher;
  if (d === undefined || world.drained !== undefined) return;
  checkOrder(world);
  if (world.clock.waiting > 0) world.breach(`${world.clock.waiting} wake-ups are left at rest`);
  for (const { what, key } of world.stillDoing)
    if (what !== "loop") world.breach(`${what} of ${key} runs at rest`);
  const sessions = [...d.sessions.values()];
  const parked = sessions.filter(({ status }) => status === "parked");
  const waiting = sessions.filter(({ status }) => status === "waiting");
  for (const session of sessions) {
    if (session.status !== "quiet" && session.status !== "parked" && session.status !== "waiting")
      world.breach(`session ${session.key} is ${session.status} at rest`);
    const byTheClock = d.eventTime === undefined;
    if (session.status === "quiet" && byTheClock && session.ownIdleMs < Infinity)
      world.breach(`session ${session.key} is quiet at rest, and never ends as idle`);
    if (session.status === "quiet" && session.head !== undefined)
      world.breach(`session ${session.key} is quiet at rest, and a message waits`);
  }
  const quiet = sessions.filter(({ status }) => status === "quiet");
  if (waiting.length > 0) {
    if (d.live < world.options.maxLive) world.breach("a key waits for a place, and there is one");
    if (world.options.evict && quiet.length > 0)
      world.breach("a key waits for a place, and a quiet session is not evicted");
    const consuming = world.feeds.some(({ given, source, plan }) => {
      if (given.state !== "waiting") return false;
      return !revokedOf(world) && (!plan.keepOpen || (source?.waiting ?? 0) > 0);
    });
    if (consuming && quiet.length > 0) world.breach("a source waits, and only quiet sessions live");
  }
  if (waiting.length > 0) return;
  // Whatever is parked does not count; a watermark may still come.
  const early = d.eventTime?.held ?? 0;
  if (d.ledger.held > early) world.breach(`${d.ledger.held} messages are held at rest`);
  for (const given of world.given) {
    if (given.state !== "waiting" || given.what.startsWith("consume") || given.what === "drain")
      continue;
    const late = early > 0 && (given.what === "call" || given.what === "join");
    const excused = (parked.length > 0 && given.what === "call") || late;
    if (!excused) world.breach(`${given.what} still waits at rest`);
  }
  for (const { given, plan, source, aborted } of world.feeds) {
    if (given.state !== "waiting") continue;
    const open = source !== undefined && plan.keepOpen;
    // What was revoked or given back comes again only when somebody asks for it.
    if (open || aborted) continue;
    if (source !== undefined && source.waiting > 0 && revokedOf(world)) continue;
    world.breach(`${given.what} still waits at rest`);
  }
}

function revokedOf(world: World): boolean {
  return world.given.some(({ what }) => what.startsWith("revoke"));
}

/** Everything that must hold after a drain has come back and all has come to rest. */
export function checkDrained(world: World): void {
  world.assignLetters();
  checkOrder(world);
  checkDrain(world);
  checkAccounts(world);
  checkLeftovers(world);
}

/** Promise 5. */
function checkDrain(world: World): void {
  const { drained } = world;
  if (drained === undefined) return;
  const { report, doneMs, atMs, deadlineMs, busy } = drained;
  if (report === undefined) {
    world.breach("drain never came back");
    return;
  }
  if (busy.size === 0 && drained.pending > 0)
    world.breach(`${drained.pending} wake-ups of the router are left when drain returns`);
  const bound = atMs + deadlineMs + world.options.graceMs;
  if (doneMs > bound) world.breach(`drain took until ${doneMs}, and had until ${bound}`);
  if (report.pending !== report.ignored.length)
    world.breach(`drain reports ${report.pending} pending and ${report.ignored.length} ignoring`);
  const ignored = new Set(
    report.ignored.map((name) => JSON.parse(/of session (.*)$/.exec(name)?.[1] ?? '""') as string),
  );
  if (ignored.size !== report.ignored.length) world.breach("drain names a handler twice");
  for (const key of busy)
    if (!ignored.has(key as string)) world.breach(`${key} is busy after drain and is not named`);
  for (const key of ignored)
    if (!busy.has(key) && !world.endedNow(key, doneMs))
      world.breach(`${key} is named by drain and is not busy`);
}

/** Promises 3 and 6: each message that was accepted is exactly one of five things. */
function checkAccounts(world: World): void {
  const d = world.dispatcher;
  if (d === undefined) return;
  const statistics = world.router.statistics();
  let least = 0;
  let unsure = 0;
  let unhandled = 0;
  for (const { n, arrivals } of world.messages) {
    for (const arrival of arrivals) {
      const { state, entered, finished, outcomes, letter, feed } = arrival;
      if (state === "asked") world.breach(`message ${n}: nobody said whether it was accepted`);
      if (state === "refused") {
        if (entered > 0) world.breach(`message ${n} was refused and handled`);
        if (letter !== undefined) world.breach(`message ${n} was refused and dead-lettered`);
        continue;
      }
      if (feed?.source !== undefined && !arrival.lost && outcomes.length !== 1)
        world.breach(`message ${n} was settled ${outcomes.length} times: ${outcomes.join()}`);
      if (letter !== undefined) {
        const givenUp = outcomes[0] === "release" && world.options.deadLetter.kind !== "none";
        if (outcomes.length > 0 && outcomes[0] !== "dead" && !givenUp)
          world.breach(`message ${n} was dead-lettered and settled as ${outcomes[0]}`);
        continue;
      }
      if (outcomes[0] === "dead") world.breach(`message ${n} was settled as dead without a letter`);
      if (outcomes[0] === "release") {
        // With ack: "session" what was handled is given back all the same.
        if (world.options.ack === "session" && finished > 0) unsure++;
        continue;
      }
      if (arrival.lost) {
        unsure++;
        continue;
      }
      if (state === "unknown") {
        if (finished > 0) least++;
        else unsure++;
        continue;
      }
      least++;
      if (finished === 0) unhandled++;
    }
  }
  const { handled, dropped, interrupted, deadLettered } = statistics;
  const counted = handled + dropped + interrupted;
  if (counted < least || counted > least + unsure) {
    world.breach(
      `handled ${handled}, dropped ${dropped}, interrupted ${interrupted}; expected ${least} to ${least + unsure}`,
    );
  }
  if (unhandled > dropped + interrupted)
    world.breach(
      `${unhandled} were neither handled nor dropped, ${dropped} + ${interrupted} counted`,
    );
  if (deadLettered !== world.letters.size)
    world.breach(`${deadLettered} dead letters are counted, and there are ${world.letters.size}`);
  const { overflow, late, interrupts, style } = world.options;
  const drops = overflow === "dropNewest" || overflow === "dropOldest" || late === "drop";
  if (!drops && dropped > 0) world.breach(`${dropped} were dropped without a policy`);
  if (!(interrupts && style === "message") && interrupted > 0)
    world.breach(`${interrupted} were interrupted without a policy`);
  for (const feed of world.feeds) {
    for (const { message } of feed.source?.errors ?? []) {
      if (lostWhileSettling(feed) && message.endsWith("was lost")) continue;
      world.breach(`source: ${message}`);
    }
  }
  const ends = Object.values(statistics.ended).reduce((sum, count) => sum + count, 0);
  if (ends !== statistics.started)
    world.breach(`${statistics.started} sessions started and ${ends} ended`);
  checkCallbacks(world, statistics.ended);
}

function checkCallbacks(world: World, ended: Readonly<Record<string, number>>): void {
  const counts: Record<string, number> = {};
  for (const { reason } of world.callbacks) counts[reason] = (counts[reason] ?? 0) + 1;
  const over = ["ended", "returned", "idle", "sourceEnded", "replaced", "failed"];
  for (const [reason, count] of Object.entries(ended)) {
    const manner = over.includes(reason) ? world.options.ended : world.options.stopped;
    if (manner.kind === "none") continue;
    if ((counts[reason] ?? 0) === count) continue;
    world.breach(`${count} sessions ended as ${reason}, ${counts[reason] ?? 0} callbacks`);
  }
}

/** Promise 4, for every session at once: nothing is left. */
function checkLeftovers(world: World): void {
  const d = world.dispatcher;
  for (const task of allTasks()) {
    const { clock } = task.scope;
    if (clock === world.clock || clock === world.routerClock)
      world.breach(`a task is left: ${task.toString()}`);
  }
  for (const { what, key } of world.stillDoing) world.breach(`${what} of ${key} runs after drain`);
  if (world.clock.waiting > 0) world.breach(`${world.clock.waiting} wake-ups are left`);
  for (const { what, state } of world.given)
    if (state === "waiting") world.breach(`${what} waits after drain`);
  if (d === undefined) return;
  for (const [what, count] of leftIn(d))
    if (count !== 0) world.breach(`${count} ${what} are left after drain`);
}

function leftIn(d: Dispatcher): readonly (readonly [string, number])[] {
  return [
    ["sessions", d.sessions.size],
    ["feeds", d.feeds.size],
    ["joiners", d.joiners.size],
    ["watchers", d.watchers.size],
    ["live", d.live],
    ["running", d.running],
    ["parked", d.parked],
    ["overdue", d.overdue],
    ["held", d.ledger.held],
    ["letters under way", d.ledger.pendingLetters],
  ];
}
