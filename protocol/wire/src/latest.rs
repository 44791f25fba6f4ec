//! The newest form of every message. Business code imports from here and never names a version.

pub use crate::message::Message;
pub use crate::v1::client::ClientReply;
pub use crate::v1::worker::{
    Admit, BoundListener, Claim, GatewaySettings, Heartbeat, LastError, ListenerSetting, OnProfileError,
    Prepare, Problem, QUIET_MOST_MS, Role, Severity, TaskProgress, quiet_ms,
};
pub use crate::v2::client::ClientRequest;
pub use crate::v2::worker::{Family, FromWorker, HandOver, MAX_REPORT_LEN, Report, ToWorker};
