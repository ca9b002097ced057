// `--limit N`: a source that ends after N messages. Where credit is the whole
// source's, no more than N are ever asked for; where each partition has its own,
// nobody can know which will need it, and what comes beyond N is given back.
import type { Source, SourceConnection, SourceHost } from "../message/source.ts";

/** The first `limit` messages of `source`. */
export function limitSource<M>(source: Source<M>, limit: number): Source<M> {
  return {
    name: source.name,
    capabilities: source.capabilities,
    store: source.store,
    async open(host) {
      const limited = new Limited(host, limit, source.capabilities.credit === "partition");
      limited.connection = await source.open(limited.host);
      return limited;
    },
  };
}

class Limited<M> implements SourceConnection {
  connection: SourceConnection | undefined;
  readonly host: SourceHost<M>;
  readonly #byPartition: boolean;
  #unasked: number;
  #coming: number;
  #ended = false;

  constructor(host: SourceHost<M>, limit: number, byPartition: boolean) {
    this.#byPartition = byPartition;
    this.#unasked = limit;
    this.#coming = limit;
    this.host = {
      assigned: (partition) => host.assigned(partition),
      revoked: (partition, reason) => host.revoked(partition, reason),
      deliver: (delivery) => {
        if (this.#ended) {
          void delivery.settle("release");
          return;
        }
        host.deliver(delivery);
        this.#coming -= 1;
        if (this.#coming === 0) this.host.ended();
      },
      aborted: (delivery) => {
        if (host.aborted === undefined) void delivery.settle("release");
        else host.aborted(delivery);
      },
      ended: () => {
        if (this.#ended) return;
        this.#ended = true;
        host.ended();
      },
      failed: (error) => {
        if (!this.#ended) host.failed(error);
      },
    };
  }

  get connected(): boolean {
    return this.connection?.connected ?? true;
  }

  request(count: number, partition?: string): void {
    const allowed = this.#byPartition ? count : Math.min(count, this.#unasked);
    if (allowed < 1) return;
    if (!this.#byPartition) this.#unasked -= allowed;
    this.connection?.request(allowed, partition);
  }

  close(wait?: Promise<void>): Promise<void> {
    return this.connection?.close(wait) ?? Promise.resolve();
  }
}
