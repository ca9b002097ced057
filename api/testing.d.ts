// The public API of "heddle/testing", written by `npm run api`.

declare interface Clock {
    now(): number;
    wakeAfter(delayMs: number, wake: () => void): () => void;
}

export declare function runVirtual<T>(work: (clock: VirtualClock) => T | PromiseLike<T>, clock?: VirtualClock): Promise<T>;

export declare class VirtualClock implements Clock {
    #private;
    constructor(startMs?: number);
    now(): number;
    get waiting(): number;
    get nextDue(): number;
    wakeAfter(delayMs: number, wake: () => void): () => void;
    advance(ms: number): Promise<void>;
    next(): Promise<boolean>;
    runToEnd(most?: number): Promise<void>;
    settle(): Promise<void>;
}

export { }
