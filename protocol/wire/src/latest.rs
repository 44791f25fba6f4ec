//! The newest form of every message. Business code imports from here and never names a version.

pub use crate::v1::client::{ClientReply, ClientRequest};
pub use crate::v1::worker::{
    Admit, BoundListener, Claim, FromWorker, GatewaySettings, Heartbeat, LastError, ListenerSetting,
    OnProfileError, Prepare, Problem, Report, Role, Severity, TaskProgress, ToWorker, quiet_ms,
};
