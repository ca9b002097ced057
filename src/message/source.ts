// The port that every engine is fitted to. A source pushes deliveries, never
// more than it was asked for (`request`), so that whoever consumes it decides
// how much is under way; a delivery finds its own way back (`settle`).
import type { Delivery } from "./delivery.ts";

/** Why a partition was taken away. After `"lost"` nothing of it can be settled any more. */
export type RevokeReason = "released" | "rebalanced" | "lost" | "drained";

/** A unit of order and ownership: all the messages of a key are in one, and one process has it at a time. */
export interface Partition {
  readonly id: string;
  /** A token that only grows with each new owner, where the engine has one */
  readonly fence?: bigint | undefined;
}

/** What a source can do; every rule that follows from it is enforced in `session/consume.ts` and `message/guard.ts`. */
export interface Capabilities {
  /** Whether the source says which partitions it was given and which were taken away */
  readonly partitions: boolean;
  /** Whether `request` may name a partition, so that one can be made to wait alone */
  readonly credit: "source" | "partition";
  /** Whether what was released, or never settled, comes again */
  readonly durable: boolean;
  /** Whether `settle("dead", letter)` keeps the letter somewhere */
  readonly deadLetters: boolean;
}

/** What a source calls; the router implements it. */
export interface SourceHost<M = unknown> {
  /** Before the first delivery of that partition */
  assigned(partition: Partition): void;
  /**
   * The partition goes to somebody else. Resolves when nothing of it is
   * handled any more and everything of it is settled; the source gives it
   * away only then, except after `"lost"`, when it is already gone.
   */
  revoked(partition: string, reason: RevokeReason): Promise<void>;
  /** One message that was requested. Never called from inside `open` or `request`. */
  deliver(delivery: Delivery<M>): void;
  /**
   * A message that came after `close`, from a source that could not hold it
   * back; the router dead-letters it as `aborted`. Without it the message is
   * given back.
   */
  aborted?(delivery: Delivery<M>): void;
  /** Nothing more will come, because there is nothing more */
  ended(): void;
  /** Nothing more will come, because something broke */
  failed(error: unknown): void;
}

/** An open source. */
export interface SourceConnection {
  /** Allows `count` more deliveries, of `partition` only where the source gives credit by partition */
  request(count: number, partition?: string): void;
  /**
   * Stops reading: no delivery comes after this call. What was delivered may
   * still be settled until the returned promise has resolved.
   *
   * @param wait Resolves when everything that was delivered is settled
   */
  close(wait?: Promise<void>): Promise<void>;
  /** Whether the engine can be reached; a source without a connection is always connected */
  readonly connected?: boolean;
}

/** Where messages come from. */
export interface Source<M = unknown> {
  /** For messages and statistics, such as `lines:access.log` */
  readonly name: string;
  readonly capabilities: Capabilities;
  /** Where saved state lives, for sources that can keep it */
  readonly store?: StateStore | undefined;
  open(host: SourceHost<M>): SourceConnection | Promise<SourceConnection>;
}

/** Where outputs go. */
export interface Sink<V = unknown> {
  readonly name: string;
  /** Resolves when there is room for more; what it throws makes the handler's message fail */
  write(value: V): void | Promise<void>;
  /** Writes what is left and closes */
  close(): Promise<void>;
}

/** Where `session.save()` puts a session's state. */
export interface StateStore {
  load(key: string | number): unknown;
  save(key: string | number, state: unknown): void | Promise<void>;
  delete(key: string | number): void | Promise<void>;
  /** A token that only grows with each new owner of the key */
  fence?(key: string | number): bigint | Promise<bigint>;
}
