// A host that a test can look at: it keeps what a source tells it, and asks for
// nothing by itself.
import { nextTurn } from "../../task/clock.ts";
import type { Delivery } from "../delivery.ts";
import type { Partition, RevokeReason, Source, SourceConnection, SourceHost } from "../source.ts";

export class RecordingHost<M> implements SourceHost<M> {
  readonly deliveries: Delivery<M>[] = [];
  readonly late: Delivery<M>[] = [];
  readonly partitions: Partition[] = [];
  readonly revocations: string[] = [];
  readonly failures: unknown[] = [];
  hasEnded = false;
  /** Called for each delivery */
  onDelivery: ((delivery: Delivery<M>) => void) | undefined;
  /** What `revoked` waits for */
  onRevoked: (() => Promise<void>) | undefined;
  readonly #over = deferred<void>();

  get messages(): M[] {
    return this.deliveries.map(({ message }) => message);
  }

  /** Resolves when the source has ended; rejects when it has failed. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  assigned(partition: Partition): void {
    this.partitions.push(partition);
  }

  async revoked(partition: string, reason: RevokeReason): Promise<void> {
    this.revocations.push(`${partition}: ${reason}`);
    await this.onRevoked?.();
  }

  deliver(delivery: Delivery<M>): void {
    this.deliveries.push(delivery);
    this.onDelivery?.(delivery);
  }

  aborted(delivery: Delivery<M>): void {
    this.late.push(delivery);
  }

  ended(): void {
    this.hasEnded = true;
    this.#over.resolve();
  }

  failed(error: unknown): void {
    this.failures.push(error);
    this.#over.promise.catch(() => {});
    this.#over.reject(error);
  }
}

/** Reads all of `source`, at most `atOnce` deliveries unsettled at a time. */
export async function readAll<M>(
  source: Source<M>,
  { atOnce = 16 } = {},
): Promise<RecordingHost<M>> {
  const host = new RecordingHost<M>();
  const connection: SourceConnection = await source.open(host);
  host.onDelivery = (delivery) => {
    queueMicrotask(() => {
      void delivery.settle("done");
      connection.request(1);
    });
  };
  connection.request(atOnce);
  await host.over;
  await connection.close();
  return host;
}

/** Lets everything that waits for microtasks, and for `turns` turns of the event loop, go on. */
export async function settled(turns = 2): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await new Promise<void>(nextTurn);
  }
}

/** A promise and what settles it. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

/** `Promise.withResolvers`, which the library's types do not have yet. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((...settlers) => {
    [resolve, reject] = settlers;
  });
  return { promise, resolve, reject };
}
