//! Wire types: what the agent's API, the bootstrap and the program's JSON output look like. Versioned; nothing else.

mod agent;
mod bootstrap;
mod event;
mod frame;
mod status;

pub use agent::{
    ApiError, ApplyEvent, ApplyRequest, Check, CheckEvent, CheckKind, CheckState, ConfigPhase, ConfigState, EnrolOffer,
    EnrolRequest, ExecExit, ExecRequest, LogLine, LogStream, NodeFacts, RenewOffer, RenewRequest, StatusReply,
    StepOutcome, StepState, WindowSize,
};
pub use bootstrap::{AGENT_PORT, BOOTSTRAP_VERSION, Bootstrap};
pub use event::{EVENT_VERSION, Event, EventBody};
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, FrameKind};
pub use status::{NodeStatus, STATUS_VERSION, StatusDocument};
