// The public API of "heddle/lines", written by `npm run api`.

import type { Readable } from 'node:stream';
import type { Writable } from 'node:stream';

declare interface Capabilities {
    readonly partitions: boolean;
    readonly credit: "source" | "partition";
    readonly durable: boolean;
    readonly deadLetters: boolean;
}

declare interface DeadLetter<M = unknown, K extends Key = Key> {
    readonly message: M;
    readonly key: K | undefined;
    readonly reason: DeadLetterReason;
    readonly error: unknown;
    readonly attempts: number;
    readonly at: number;
    readonly history: readonly FailedAttempt[];
    readonly delivery?: DeliveryInfo | undefined;
}

declare type DeadLetterReason = "invalid" | "late" | "exhausted" | "cancelled" | "full" | "parked" | "drained" | "aborted" | "duplicateStart";

declare interface Delivery<M = unknown> extends DeliveryInfo {
    readonly message: M;
    readonly key?: Key | undefined;
    readonly invalid?: Error | undefined;
    settle(outcome: Outcome, letter?: DeadLetter): void | Promise<void>;
}

declare interface DeliveryInfo {
    readonly id: string;
    readonly attempt: number;
    readonly partition: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly idempotencyKey: string;
    readonly redelivered: boolean;
}

declare interface FailedAttempt {
    readonly attempt: number;
    readonly error: unknown;
    readonly at: number;
}

declare type Key = string | number;

export declare interface LinesProgress {
    readonly bytes: number;
    readonly totalBytes: number | undefined;
    readonly lines: number;
    readonly messages: number;
    readonly invalid: number;
    readonly skipped: number;
}

export declare interface LinesSink<V> extends Sink<V> {
    open(): Promise<void>;
    readonly lines: number;
}

export declare function linesSink<V = unknown>(options: LinesSinkOptions): LinesSink<V>;

export declare interface LinesSinkOptions {
    readonly output: string | Writable;
    readonly name?: string | undefined;
    readonly append?: boolean | undefined;
    readonly broken?: ((error: Error) => void) | undefined;
}

export declare interface LinesSource<M> extends Source<M> {
    progress(): LinesProgress;
}

export declare function linesSource<M = unknown>(options: LinesSourceOptions<M>): LinesSource<M>;

export declare interface LinesSourceOptions<M = unknown> {
    readonly input: string | Readable;
    readonly name?: string | undefined;
    readonly parse?: ((line: string) => M | undefined) | undefined;
    readonly maxLineBytes?: number | undefined;
}

declare type Outcome = "done" | "release" | "dead";

declare interface Partition {
    readonly id: string;
    readonly fence?: bigint | undefined;
}

declare type RevokeReason = "released" | "rebalanced" | "lost" | "drained";

declare interface Sink<V = unknown> {
    readonly name: string;
    write(value: V): void | Promise<void>;
    close(): Promise<void>;
}

declare interface Source<M = unknown> {
    readonly name: string;
    readonly capabilities: Capabilities;
    readonly store?: StateStore | undefined;
    open(host: SourceHost<M>): SourceConnection | Promise<SourceConnection>;
}

declare interface SourceConnection {
    request(count: number, partition?: string): void;
    close(wait?: Promise<void>): Promise<void>;
    readonly connected?: boolean;
}

declare interface SourceHost<M = unknown> {
    assigned(partition: Partition): void;
    revoked(partition: string, reason: RevokeReason): Promise<void>;
    deliver(delivery: Delivery<M>): void;
    aborted?(delivery: Delivery<M>): void;
    ended(): void;
    failed(error: unknown): void;
}

declare interface StateStore {
    load(key: string | number): unknown;
    save(key: string | number, state: unknown): void | Promise<void>;
    delete(key: string | number): void | Promise<void>;
    fence?(key: string | number): bigint | Promise<bigint>;
}

export { }
