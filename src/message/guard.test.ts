import { expect, test } from "vitest";
import type { Delivery } from "./delivery.ts";
import { guardSource } from "./guard.ts";
import type { Capabilities, Source, SourceConnection, SourceHost } from "./source.ts";
import { deferred, RecordingHost } from "./test-support/host.ts";

/** A source whose every move is the test's. */
class Puppet implements Source<string> {
  readonly name = "puppet";
  readonly capabilities: Capabilities;
  readonly requests: [number, string | undefined][] = [];
  readonly settled: string[] = [];
  host!: SourceHost<string>;
  closing: Promise<void> = Promise.resolve();

  constructor(capabilities: Partial<Capabilities> = {}) {
    this.capabilities = {
      partitions: false,
      credit: "source",
      durable: true,
      deadLetters: false,
      ...capabilities,
    };
  }

  open(host: SourceHost<string>): SourceConnection {
    this.host = host;
    return {
      request: (count, partition) => void this.requests.push([count, partition]),
      close: () => this.closing,
    };
  }

  delivery(id: string, partition = ""): Delivery<string> {
    return {
      message: `message ${id}`,
      id,
      attempt: 2,
      partition,
      headers: { kind: "test" },
      idempotencyKey: `puppet:${id}`,
      redelivered: true,
      settle: (outcome) => void this.settled.push(`${id} ${outcome}`),
    };
  }
}

function guarded(capabilities: Partial<Capabilities> = {}): {
  puppet: Puppet;
  host: RecordingHost<string>;
  connection: SourceConnection;
  reports: string[];
} {
  const puppet = new Puppet(capabilities);
  const host = new RecordingHost<string>();
  const reports: string[] = [];
  const source = guardSource(puppet, { report: (error) => void reports.push(error.message) });
  const connection = source.open(host) as SourceConnection;
  return { puppet, host, connection, reports };
}

test("guardSource passes requests, deliveries and outcomes on", () => {
  const { puppet, host, connection, reports } = guarded();
  connection.request(3);
  puppet.host.deliver(puppet.delivery("1"));
  const [delivery] = host.deliveries;
  expect(delivery).toMatchObject({
    message: "message 1",
    key: undefined,
    id: "1",
    attempt: 2,
    partition: "",
    headers: { kind: "test" },
    idempotencyKey: "puppet:1",
    redelivered: true,
    invalid: undefined,
  });
  void delivery!.settle("done");
  expect(puppet.requests).toEqual([[3, undefined]]);
  expect(puppet.settled).toEqual(["1 done"]);
  expect(reports).toEqual([]);
});

test("guardSource opens a source once", () => {
  const source = guardSource(new Puppet());
  void source.open(new RecordingHost());
  expect(() => source.open(new RecordingHost())).toThrow(
    "Cannot open puppet: it has been opened already",
  );
});

test("guardSource waits for a source that opens in its own time", async () => {
  const puppet = new Puppet();
  const slow: Source<string> = {
    name: puppet.name,
    capabilities: puppet.capabilities,
    open: (host) => Promise.resolve(puppet.open(host)),
  };
  const connection = await guardSource(slow).open(new RecordingHost());
  connection.request(1);
  expect(puppet.requests).toEqual([[1, undefined]]);
});

test("guardSource refuses a second settle and names both outcomes", () => {
  const { puppet, host, connection, reports } = guarded();
  connection.request(1);
  puppet.host.deliver(puppet.delivery("1"));
  void host.deliveries[0]!.settle("done");
  const message = `Cannot settle 1 of puppet as "dead": it is settled as "done" already`;
  expect(() => host.deliveries[0]!.settle("dead")).toThrow(message);
  expect(puppet.settled).toEqual(["1 done"]);
  expect(reports).toEqual([message]);
});

test("guardSource stops a source that delivers more than was requested", () => {
  const { puppet, host, connection, reports } = guarded();
  connection.request(1);
  puppet.host.deliver(puppet.delivery("1"));
  const message = "Cannot trust puppet: it delivered 2 beyond what was requested";
  expect(() => puppet.host.deliver(puppet.delivery("2"))).toThrow(message);
  expect(host.messages).toEqual(["message 1"]);
  expect(host.failures).toEqual([new Error(message)]);
  expect(reports).toEqual([message]);
});

test("guardSource counts credit for each partition where a source gives it so", () => {
  const { puppet, host, connection } = guarded({ partitions: true, credit: "partition" });
  puppet.host.assigned({ id: "a" });
  puppet.host.assigned({ id: "b" });
  connection.request(1, "a");
  puppet.host.deliver(puppet.delivery("1", "a"));
  expect(() => puppet.host.deliver(puppet.delivery("2", "b"))).toThrow("beyond what was requested");
  expect(host.messages).toEqual(["message 1"]);
});

test("guardSource stops a source that delivers from a partition it had not assigned", () => {
  const { puppet, connection } = guarded({ partitions: true });
  connection.request(5);
  expect(() => puppet.host.deliver(puppet.delivery("1", "a"))).toThrow(
    `Cannot trust puppet: it delivered 1 of partition "a", which it had not assigned`,
  );
});

test("guardSource refuses to settle what was lost", async () => {
  const { puppet, host, connection } = guarded({ partitions: true });
  puppet.host.assigned({ id: "a" });
  connection.request(5);
  puppet.host.deliver(puppet.delivery("1", "a"));
  await puppet.host.revoked("a", "lost");
  expect(() => host.deliveries[0]!.settle("done")).toThrow(
    `Cannot settle 1 of puppet as "done": its partition "a" was lost`,
  );
  expect(puppet.settled).toEqual([]);
});

test("guardSource lets a partition's deliveries be settled while it is given away, and not after", async () => {
  const { puppet, host, connection, reports } = guarded({ partitions: true });
  puppet.host.assigned({ id: "a" });
  connection.request(5);
  puppet.host.deliver(puppet.delivery("1", "a"));
  puppet.host.deliver(puppet.delivery("2", "a"));
  host.onRevoked = async () => host.deliveries[0]!.settle("done");
  await puppet.host.revoked("a", "rebalanced");
  expect(puppet.settled).toEqual(["1 done"]);
  expect(reports).toEqual([
    `Cannot give partition "a" of puppet away cleanly: 1 of its deliveries are not settled`,
  ]);
  expect(() => host.deliveries[1]!.settle("release")).toThrow("its partition was given away");
});

test("guardSource lets a partition come back", async () => {
  const { puppet, host, connection } = guarded({ partitions: true, credit: "partition" });
  puppet.host.assigned({ id: "a", fence: 1n });
  await puppet.host.revoked("a", "rebalanced");
  connection.request(1, "a");
  expect(puppet.requests).toEqual([]);
  puppet.host.assigned({ id: "a", fence: 2n });
  connection.request(1, "a");
  puppet.host.deliver(puppet.delivery("1", "a"));
  expect(host.messages).toEqual(["message 1"]);
});

test("guardSource hands what comes after close to aborted, and settles it once", async () => {
  const { puppet, host, connection, reports } = guarded();
  connection.request(5);
  await connection.close();
  puppet.host.deliver(puppet.delivery("1"));
  expect(host.deliveries).toEqual([]);
  expect(host.late.map(({ id }) => id)).toEqual(["1"]);
  void host.late[0]!.settle("dead");
  expect(puppet.settled).toEqual(["1 dead"]);
  expect(reports).toEqual(["Cannot trust puppet: it delivered 1 after it was closed"]);
});

test("guardSource lets deliveries be settled until close has resolved", async () => {
  const { puppet, host, connection } = guarded();
  connection.request(2);
  puppet.host.deliver(puppet.delivery("1"));
  puppet.host.deliver(puppet.delivery("2"));
  const closing = deferred<void>();
  puppet.closing = closing.promise;
  const closed = connection.close();
  void host.deliveries[0]!.settle("done");
  closing.resolve();
  await closed;
  expect(() => host.deliveries[1]!.settle("done")).toThrow("its source is closed");
  expect(puppet.settled).toEqual(["1 done"]);
});

test("guardSource closes once, reports a request after that, and lets no second end through", async () => {
  const { puppet, host, connection, reports } = guarded();
  expect(connection.close()).toBe(connection.close());
  connection.request(1);
  expect(reports).toEqual(["Cannot request from puppet: it is closed"]);
  puppet.host.ended();
  puppet.host.failed(new Error("too late"));
  expect(host.hasEnded).toBe(false);
  expect(host.failures).toEqual([]);
  await connection.close();
});

test.for([0, -1, 1.5, NaN])("guardSource refuses a request for %d", (count) => {
  const { connection } = guarded();
  expect(() => connection.request(count)).toThrow(
    `Cannot request from puppet: count must be a whole number >= 1, current value is ${count}`,
  );
});
