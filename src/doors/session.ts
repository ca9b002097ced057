// The main job: `import { SessionRouter } from "heddle/session"`.
export { defineSessions } from "../session/define.ts";
export type { SessionsDefinition } from "../session/define.ts";
export {
  InboxFullError,
  InvalidMessageError,
  NotHandledError,
  RouterClosedError,
  SelfSendError,
} from "../session/errors.ts";
export type { NotHandled } from "../session/errors.ts";
export type {
  DrainReport,
  EndReason,
  LoopOptions,
  MessageInHand,
  MessageOptions,
  RouterStatistics,
  Session,
  SessionRouterOptions,
} from "../session/options.ts";
export { SessionRouter } from "../session/router.ts";
export type {
  StandardIssue,
  StandardResult,
  StandardSchemaV1,
} from "../session/standard-schema.ts";
export type {
  DeadLetter,
  DeadLetterReason,
  Delivery,
  DeliveryInfo,
  FailedAttempt,
  Key,
  Outcome,
} from "../message/delivery.ts";
export type { Consumable } from "../message/iterable.ts";
export type {
  Capabilities,
  Partition,
  RevokeReason,
  Sink,
  Source,
  SourceConnection,
  SourceHost,
  StateStore,
} from "../message/source.ts";
