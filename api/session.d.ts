// The public API of "heddle/session", written by `npm run api`.

export declare interface Capabilities {
    readonly partitions: boolean;
    readonly credit: "source" | "partition";
    readonly durable: boolean;
    readonly deadLetters: boolean;
}

declare interface Clock {
    now(): number;
    wakeAfter(delayMs: number, wake: () => void): () => void;
}

declare interface CommonOptions<M, K extends Key, S, R> {
    readonly key?: ((message: M) => K) | undefined;
    readonly starts?: ((message: M) => boolean) | undefined;
    readonly ends?: ((message: M) => boolean) | undefined;
    readonly state?: ((key: K, saved: unknown) => S | Promise<S>) | undefined;
    readonly ended?: ((session: Session<M, K, S>, reason: EndReason) => unknown) | undefined;
    readonly stopped?: ((session: Session<M, K, S>, reason: EndReason) => unknown) | undefined;
    readonly output?: ((value: R, session: Session<M, K, S>) => unknown) | undefined;
    readonly time?: ((message: M) => number) | undefined;
    readonly latenessMs?: number | undefined;
    readonly idleMs?: number | undefined;
    readonly inboxSize?: number | undefined;
    readonly overflow?: "wait" | "reject" | "dropOldest" | "dropNewest" | undefined;
    readonly maxHeld?: number | undefined;
    readonly maxLive?: number | undefined;
    readonly evict?: "idlest" | undefined;
    readonly maxRunning?: number | undefined;
    readonly late?: "deadLetter" | "drop" | undefined;
    readonly duplicateStart?: "deliver" | "replace" | "deadLetter" | undefined;
    readonly attempts?: number | undefined;
    readonly retryDelayMs?: ((attempt: number, error: unknown, message: M) => number | undefined) | undefined;
    readonly onExhausted?: "deadLetter" | "park" | "end" | undefined;
    readonly deadLetter?: ((letter: DeadLetter<M, K>) => unknown) | "drop" | undefined;
    readonly schema?: StandardSchemaV1<unknown, M> | undefined;
    readonly graceMs?: number | undefined;
    readonly drainMs?: number | undefined;
    readonly ack?: "message" | "session" | undefined;
    readonly clock?: Clock | undefined;
    readonly store?: StateStore | undefined;
}

export declare type Consumable<M> = Source<M> | Iterable<M> | AsyncIterable<M>;

export declare interface DeadLetter<M = unknown, K extends Key = Key> {
    readonly message: M;
    readonly key: K | undefined;
    readonly reason: DeadLetterReason;
    readonly error: unknown;
    readonly attempts: number;
    readonly at: number;
    readonly history: readonly FailedAttempt[];
    readonly delivery?: DeliveryInfo | undefined;
}

export declare type DeadLetterReason = "invalid" | "late" | "exhausted" | "cancelled" | "full" | "parked" | "drained" | "aborted" | "duplicateStart";

export declare function defineSessions<M, K extends Key = Key, S = undefined, R = unknown>(definition: SessionsDefinition<M, K, S, R>): SessionsDefinition<M, K, S, R>;

export declare interface Delivery<M = unknown> extends DeliveryInfo {
    readonly message: M;
    readonly key?: Key | undefined;
    readonly invalid?: Error | undefined;
    settle(outcome: Outcome, letter?: DeadLetter): void | Promise<void>;
}

export declare interface DeliveryInfo {
    readonly id: string;
    readonly attempt: number;
    readonly partition: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly idempotencyKey: string;
    readonly redelivered: boolean;
}

export declare interface DrainReport {
    readonly pending: number;
    readonly ignored: readonly string[];
    readonly parked: number;
    readonly deadLettered: number;
    readonly released: number;
}

export declare type EndReason = "ended" | "returned" | "idle" | "sourceEnded" | "replaced" | "failed" | "cancelled" | "evicted" | "drained" | "moved";

export declare interface FailedAttempt {
    readonly attempt: number;
    readonly error: unknown;
    readonly at: number;
}

declare type Handled<R> = R | undefined | void | Promise<R | undefined | void>;

export declare class InboxFullError extends Error {
    readonly name = "InboxFullError";
    readonly code = "HEDDLE_INBOX_FULL";
    readonly key: Key;
    constructor(key: Key, size: number, options?: ErrorOptions);
}

export declare class InvalidMessageError extends TypeError {
    readonly name = "InvalidMessageError";
    readonly code = "HEDDLE_INVALID_MESSAGE";
}

export declare type Key = string | number;

export declare interface LoopOptions<M, K extends Key, S, R> extends CommonOptions<M, K, S, R> {
    readonly session: (session: Session<M, K, S>) => Handled<R>;
    readonly message?: undefined;
    readonly interrupts?: undefined;
}

export declare type MessageInHand = DeliveryInfo;

export declare interface MessageOptions<M, K extends Key, S, R> extends CommonOptions<M, K, S, R> {
    readonly message: (message: M, session: Session<M, K, S>) => Handled<R>;
    readonly session?: undefined;
    readonly interrupts?: ((message: M, session: Session<M, K, S>) => boolean) | undefined;
}

export declare type NotHandled = "late" | "cancelled" | "full" | "parked" | "drained" | "aborted" | "duplicateStart" | "exhausted" | "invalid" | "dropped" | "interrupted" | "released";

export declare class NotHandledError extends Error {
    readonly name = "NotHandledError";
    readonly code = "HEDDLE_NOT_HANDLED";
    readonly key: Key | undefined;
    readonly outcome: NotHandled;
    constructor(key: Key | undefined, outcome: NotHandled, options?: ErrorOptions);
}

export declare type Outcome = "done" | "release" | "dead";

export declare interface Partition {
    readonly id: string;
    readonly fence?: bigint | undefined;
}

export declare type RevokeReason = "released" | "rebalanced" | "lost" | "drained";

export declare class RouterClosedError extends Error {
    readonly name = "RouterClosedError";
    readonly code = "HEDDLE_ROUTER_CLOSED";
}

export declare interface RouterStatistics<K extends Key = Key> {
    readonly state: "open" | "draining" | "closed";
    readonly live: number;
    readonly running: number;
    readonly queued: number;
    readonly held: {
        readonly messages: number;
        readonly keys: readonly {
            readonly key: K;
            readonly messages: number;
        }[];
    };
    readonly oldestMs: number;
    readonly parked: number;
    readonly overdue: number;
    readonly handled: number;
    readonly started: number;
    readonly peakLive: number;
    readonly ended: Readonly<Record<EndReason, number>>;
    readonly late: number;
    readonly invalid: number;
    readonly deadLettered: number;
    readonly dropped: number;
    readonly interrupted: number;
    readonly retried: number;
    readonly leftovers: number;
    readonly forced: {
        readonly evictions: number;
        readonly watermarks: number;
    };
    readonly source?: {
        readonly connected: boolean;
        readonly partitions: number;
    } | undefined;
}

export declare class SelfSendError extends Error {
    readonly name = "SelfSendError";
    readonly code = "HEDDLE_SELF_SEND";
    readonly key: Key;
    constructor(key: Key, how: "send" | "call", options?: ErrorOptions);
}

export declare interface Session<M = unknown, K extends Key = Key, S = unknown> extends AsyncIterable<M> {
    readonly key: K;
    state: S;
    readonly delivery: MessageInHand | undefined;
    readonly task: Task<unknown> | undefined;
    readonly signal: AbortSignal;
    readonly startedAt: number;
    readonly resumed: boolean;
    idleMs: number;
    readonly endReason: EndReason | undefined;
    readonly error: unknown;
    readonly fence: bigint | undefined;
    receive(): Promise<M | undefined>;
    createTask<T>(work: (task: Task) => Promise<T> | T, options?: {
        readonly name?: string;
    }): Task<T>;
    keepAlive<P extends PromiseLike<unknown>>(promise: P): P;
    sendAfter(ms: number, message: M): () => void;
    save(state?: S): Promise<void>;
    end(): void;
    cancel(reason?: unknown): boolean;
}

export declare class SessionRouter<M = unknown, K extends Key = Key, S = undefined, R = unknown> {
    #private;
    constructor(options: SessionRouterOptions<M, K, S, R>);
    send(message: M, options?: WaitOptions): Promise<void>;
    trySend(message: M): boolean;
    call(message: M, options?: WaitOptions): Promise<R | undefined>;
    consume(source: Consumable<M>, options?: WaitOptions): Promise<void>;
    join(options?: WaitOptions): Promise<void>;
    drain(options?: {
        readonly deadlineMs?: number | undefined;
    }): Promise<DrainReport>;
    cancel(key: K, reason?: unknown): boolean;
    resume(key: K): boolean;
    letters(): DeadLetter<M, K>[];
    replay(letter: DeadLetter<M, K>): Promise<void>;
    session(key: K): Session<M, K, S> | undefined;
    sessions(): Generator<Session<M, K, S>>;
    statistics(): RouterStatistics<K>;
    why(key: K): string;
    [Symbol.asyncDispose](): Promise<void>;
}

export declare type SessionRouterOptions<M = unknown, K extends Key = Key, S = undefined, R = unknown> = LoopOptions<M, K, S, R> | MessageOptions<M, K, S, R>;

export declare type SessionsDefinition<M = unknown, K extends Key = Key, S = undefined, R = unknown> = SessionRouterOptions<M, K, S, R> & {
    readonly parse?: ((line: string) => M | undefined) | undefined;
    readonly source?: Consumable<M> | undefined;
    readonly sink?: Sink<R> | undefined;
};

export declare interface Sink<V = unknown> {
    readonly name: string;
    write(value: V): void | Promise<void>;
    close(): Promise<void>;
}

export declare interface Source<M = unknown> {
    readonly name: string;
    readonly capabilities: Capabilities;
    readonly store?: StateStore | undefined;
    open(host: SourceHost<M>): SourceConnection | Promise<SourceConnection>;
}

export declare interface SourceConnection {
    request(count: number, partition?: string): void;
    close(wait?: Promise<void>): Promise<void>;
    readonly connected?: boolean;
}

export declare interface SourceHost<M = unknown> {
    assigned(partition: Partition): void;
    revoked(partition: string, reason: RevokeReason): Promise<void>;
    deliver(delivery: Delivery<M>): void;
    aborted?(delivery: Delivery<M>): void;
    ended(): void;
    failed(error: unknown): void;
}

export declare interface StandardIssue {
    readonly message: string;
    readonly path?: readonly (PropertyKey | {
        readonly key: PropertyKey;
    })[] | undefined;
}

export declare type StandardResult<Output> = {
    readonly value: Output;
    readonly issues?: undefined;
} | {
    readonly issues: readonly StandardIssue[];
};

export declare interface StandardSchemaV1<Input = unknown, Output = Input> {
    readonly "~standard": {
        readonly version: 1;
        readonly vendor: string;
        readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
        readonly types?: {
            readonly input: Input;
            readonly output: Output;
        } | undefined;
    };
}

export declare interface StateStore {
    load(key: string | number): unknown;
    save(key: string | number, state: unknown): void | Promise<void>;
    delete(key: string | number): void | Promise<void>;
    fence?(key: string | number): bigint | Promise<bigint>;
}

declare class Task<T = unknown> implements PromiseLike<T> {
    #private;
    get name(): string;
    set name(name: string);
    get signal(): AbortSignal;
    cancel(reason?: unknown): boolean;
    cancelling(): number;
    uncancel(): number;
    done(): boolean;
    cancelled(): boolean;
    result(): T;
    exception(): unknown;
    addDoneCallback(callback: (task: Task<T>) => unknown): void;
    removeDoneCallback(callback: (task: Task<T>) => unknown): number;
    then<R = T, E = never>(onValue?: ((value: T) => R | PromiseLike<R>) | null, onError?: ((error: unknown) => E | PromiseLike<E>) | null): Promise<R | E>;
    toString(): string;
}

declare interface WaitOptions {
    readonly signal?: AbortSignal | undefined;
}

export { }
