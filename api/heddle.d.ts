// The public API of "heddle", written by `npm run api`.

export declare function allTasks(): Task<unknown>[];

export declare function asCompleted<I extends Item<unknown>>(items: Iterable<I>, options?: AsCompletedOptions): Completions<ItemResult<I>>;

export declare interface AsCompletedOptions extends WaitOptions {
    readonly timeoutMs?: number | undefined;
}

export declare class BoundedSemaphore extends Semaphore {
    #private;
    constructor(permits?: number);
    release(): void;
}

export declare function cancellable<T>(source: PromiseLike<T> | ((signal: AbortSignal) => T | PromiseLike<T>), options?: WaitOptions): Promise<T>;

export declare class CancelledError extends Error {
    readonly name = "CancelledError";
    readonly code = "HEDDLE_CANCELLED";
    readonly reason: unknown;
    readonly task: Task<unknown> | undefined;
    constructor(reason?: unknown, task?: Task<unknown>);
}

export declare function checkpoint(options?: WaitOptions): Promise<void>;

export declare interface Clock {
    now(): number;
    wakeAfter(delayMs: number, wake: () => void): () => void;
}

export declare class Completions<T> implements AsyncIterableIterator<Task<T>>, Iterable<Promise<T>> {
    #private;
    next(): Promise<IteratorResult<Task<T>, undefined>>;
    [Symbol.asyncIterator](): this;
    [Symbol.iterator](): Generator<Promise<T>, undefined>;
}

export declare function createTask<T>(work: Work<T>, options?: TaskOptions): Task<T>;

export declare function currentTask(): Task<unknown> | undefined;

declare class Event_2 {
    #private;
    isSet(): boolean;
    set(): void;
    clear(): void;
    wait(options?: WaitOptions): Promise<void>;
    toString(): string;
}

export { Event_2 as Event }

export declare class FatalError extends Error {
    readonly name: string;
    readonly code: string;
}

export declare function gather<const I extends readonly Item<unknown>[]>(items: I, options?: GatherOptions & {
    readonly returnExceptions?: false | undefined;
}): Promise<GatherResults<I>>;

export declare function gather<const I extends readonly Item<unknown>[]>(items: I, options: GatherOptions & {
    readonly returnExceptions: boolean;
}): Promise<GatherOutcomes<I>>;

export declare function gather<I extends Item<unknown>>(items: Iterable<I>, options?: GatherOptions & {
    readonly returnExceptions?: false | undefined;
}): Promise<ItemResult<I>[]>;

export declare function gather<I extends Item<unknown>>(items: Iterable<I>, options: GatherOptions & {
    readonly returnExceptions: boolean;
}): Promise<(ItemResult<I> | Error)[]>;

export declare interface GatherOptions extends WaitOptions {
    readonly returnExceptions?: boolean | undefined;
}

export declare type GatherOutcomes<I extends readonly Item<unknown>[]> = {
    -readonly [K in keyof I]: ItemResult<I[K]> | Error;
};

export declare type GatherResults<I extends readonly Item<unknown>[]> = {
    -readonly [K in keyof I]: ItemResult<I[K]>;
};

export declare interface Guard extends Disposable {
    release(): void;
}

export declare class InvalidStateError extends Error {
    readonly name = "InvalidStateError";
    readonly code = "HEDDLE_INVALID_STATE";
}

export declare type Item<T> = PromiseLike<T> | (() => T | PromiseLike<T>);

export declare type ItemResult<I> = I extends () => infer R ? Awaited<R> : I extends PromiseLike<infer T> ? Awaited<T> : never;

export declare class LifoQueue<T = unknown> extends Queue<T> {
}

export declare class Lock {
    #private;
    locked(): boolean;
    acquire(options?: WaitOptions): Promise<Guard>;
    withLock<R>(work: () => R | PromiseLike<R>, options?: WaitOptions): Promise<R>;
    release(): void;
    toString(): string;
}

export declare function now(): number;

export declare class PriorityQueue<T = unknown> extends Queue<T> {
    constructor(options?: PriorityQueueOptions<T>);
}

export declare interface PriorityQueueOptions<T> extends QueueOptions {
    readonly compare?: ((a: T, b: T) => number) | undefined;
}

export declare class Queue<T = unknown> implements AsyncIterable<T, undefined> {
    #private;
    constructor(options?: QueueOptions);
    get maxSize(): number;
    get size(): number;
    empty(): boolean;
    full(): boolean;
    put(item: T, options?: WaitOptions): Promise<void>;
    putNowait(item: T): void;
    get(options?: WaitOptions): Promise<T>;
    getNowait(): T;
    taskDone(): void;
    join(options?: WaitOptions): Promise<void>;
    shutdown(options?: ShutdownOptions): void;
    [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined>;
    toString(): string;
}

export declare class QueueEmpty extends Error {
    readonly name = "QueueEmpty";
    readonly code = "HEDDLE_QUEUE_EMPTY";
}

export declare class QueueFull extends Error {
    readonly name = "QueueFull";
    readonly code = "HEDDLE_QUEUE_FULL";
}

export declare interface QueueOptions {
    readonly maxSize?: number | undefined;
}

export declare class QueueShutDown extends Error {
    readonly name = "QueueShutDown";
    readonly code = "HEDDLE_QUEUE_SHUT_DOWN";
}

export declare function rethrowIfCancelled(error: unknown): void;

export declare type ReturnWhen = "all" | "first" | "firstError";

export declare function run<T>(main: Work<T>, options?: RunOptions): Promise<T | undefined>;

export declare interface RunOptions {
    readonly signals?: boolean | readonly NodeJS.Signals[] | undefined;
}

export declare class Semaphore {
    #private;
    constructor(permits?: number);
    get available(): number;
    locked(): boolean;
    acquire(options?: WaitOptions): Promise<Guard>;
    withPermit<R>(work: () => R | PromiseLike<R>, options?: WaitOptions): Promise<R>;
    release(): void;
    toString(): string;
}

export declare function shield<T>(item: Item<T>, options?: WaitOptions): Promise<T>;

export declare interface ShutdownOptions {
    readonly immediate?: boolean | undefined;
}

export declare function sleep(ms: number): Promise<void>;

export declare function sleep<T>(ms: number, value: T, options?: WaitOptions): Promise<T>;

export declare function sleepForever(options?: WaitOptions): Promise<never>;

export declare const systemClock: Clock;

export declare class Task<T = unknown> implements PromiseLike<T> {
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

export declare class TaskGroup {
    #private;
    get size(): number;
    createTask<T>(work: Work<T>, options?: TaskOptions): Task<T>;
    cancel(reason?: unknown): void;
    toString(): string;
}

export declare function taskGroup<T>(work: (group: TaskGroup) => T | PromiseLike<T>, options?: WaitOptions): Promise<T | undefined>;

export declare class TaskGroupError extends AggregateError {
    readonly name = "TaskGroupError";
    readonly code = "HEDDLE_TASK_GROUP";
}

export declare class TaskLostError extends Error {
    readonly name = "TaskLostError";
    readonly code = "HEDDLE_TASK_LOST";
}

export declare interface TaskOptions {
    readonly name?: string | undefined;
    readonly eager?: boolean | undefined;
}

export declare function timeout<T>(ms: number | null, work: (scope: TimeoutScope) => T | PromiseLike<T>): Promise<T>;

export declare function timeoutAt<T>(when: number | null, work: (scope: TimeoutScope) => T | PromiseLike<T>): Promise<T>;

export declare class TimeoutError extends Error {
    readonly name = "TimeoutError";
    readonly code = "HEDDLE_TIMEOUT";
}

export declare class TimeoutScope {
    #private;
    get when(): number | null;
    get expired(): boolean;
    reschedule(ms: number | null): void;
    toString(): string;
}

export declare function wait<K extends Task<unknown>>(tasks: Iterable<K>, options?: WaitTasksOptions): Promise<{
    done: Set<K>;
    pending: Set<K>;
}>;

export declare function waitFor<T>(item: Item<T>, ms: number | null, options?: WaitOptions): Promise<T>;

export declare interface WaitOptions {
    readonly signal?: AbortSignal | undefined;
}

export declare interface WaitTasksOptions extends WaitOptions {
    readonly timeoutMs?: number | undefined;
    readonly returnWhen?: ReturnWhen | undefined;
}

export declare type Work<T> = (task: Task) => T | PromiseLike<T>;

export { }
