// The public API of "heddle/memory", written by `npm run api`.

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

export declare interface MemoryEntry<M> {
    readonly message: M;
    readonly key?: Key | undefined;
    readonly partition?: string | undefined;
    readonly headers?: Readonly<Record<string, string>> | undefined;
    readonly attempt?: number | undefined;
    readonly invalid?: Error | undefined;
}

export declare interface MemoryOutcome<M> {
    readonly id: string;
    readonly message: M;
    readonly partition: string;
    readonly attempt: number;
    readonly outcome: Outcome;
    readonly letter?: DeadLetter | undefined;
}

export declare interface MemorySink<V> extends Sink<V> {
    readonly values: readonly V[];
    readonly closed: boolean;
}

export declare function memorySink<V = unknown>(options?: MemorySinkOptions<V>): MemorySink<V>;

export declare interface MemorySinkOptions<V> {
    readonly name?: string | undefined;
    readonly writing?: ((value: V) => void | Promise<void>) | undefined;
}

export declare interface MemorySource<M> extends Source<M> {
    readonly outcomes: readonly MemoryOutcome<M>[];
    readonly errors: readonly Error[];
    readonly unsettled: number;
    readonly waiting: number;
    connected: boolean;
    push(...messages: M[]): void;
    pushEntry(...entries: MemoryEntry<M>[]): void;
    end(): void;
    fail(error: unknown): void;
    redeliver(): number;
    revoke(partition: string, reason?: RevokeReason): Promise<void>;
    assign(partition: string): void;
}

export declare function memorySource<M>(messages?: Iterable<M>, options?: MemorySourceOptions<M>): MemorySource<M>;

export declare function memorySourceOf<M>(entries: Iterable<MemoryEntry<M>>, options?: MemorySourceOptions<M>): MemorySource<M>;

export declare interface MemorySourceOptions<M> {
    readonly name?: string | undefined;
    readonly key?: ((message: M) => Key) | undefined;
    readonly partitions?: number | ((message: M) => string) | undefined;
    readonly credit?: Capabilities["credit"] | undefined;
    readonly durable?: boolean | undefined;
    readonly deadLetters?: boolean | undefined;
    readonly keepOpen?: boolean | undefined;
    readonly store?: StateStore | boolean | undefined;
    readonly settling?: ((outcome: MemoryOutcome<M>) => void | Promise<void>) | undefined;
}

export declare interface MemoryStore extends StateStore {
    readonly states: ReadonlyMap<string | number, unknown>;
    load(key: string | number): unknown;
    save(key: string | number, state: unknown): void;
    delete(key: string | number): void;
    fence(key: string | number): bigint;
}

export declare function memoryStore(): MemoryStore;

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
