// The producer of the report: the same in all three states of the demo.
import { randomBytes } from "node:crypto";
import { now, sleep } from "../../task/sleep.ts";

/** What the service is told of a call. */
export interface CallEvent {
  /** Which call */
  readonly unid: string;
  readonly msg: "start" | "end";
}

/** For ever, every 0.2 s: a new call, which starts and ends. */
export async function productMsg(put: (event: CallEvent) => Promise<void>): Promise<never> {
  for (;;) {
    const unid = makeUnid();
    await put({ unid, msg: "start" });
    await put({ unid, msg: "end" });
    await sleep(200);
  }
}

// UUIDs count time in ticks of 100 ns, from the calendar reform on.
const ticksBefore1970 = 0x01b21dd213814000n;
const node = newNode();
const clockSequence = (0x8000 | (randomBytes(2).readUInt16BE() & 0x3fff)).toString(16);
let lastTick = 0n;

/** A version 1 UUID, its five groups in reverse order, joined without hyphens. */
export function makeUnid(): string {
  const tick = ticksBefore1970 + BigInt(Math.floor(now() * 10_000));
  lastTick = tick > lastTick ? tick : lastTick + 1n;
  const time = lastTick.toString(16).padStart(15, "0");
  const groups = [time.slice(7), time.slice(3, 7), `1${time.slice(0, 3)}`, clockSequence, node];
  return groups.toReversed().join("");
}

function newNode(): string {
  const bytes = randomBytes(6);
  // The multicast bit says that it is no network card's address.
  bytes.writeUInt8(bytes.readUInt8(0) | 1, 0);
  return bytes.toString("hex");
}
