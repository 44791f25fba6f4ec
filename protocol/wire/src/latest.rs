//! The newest form of every message. Business code imports from here and never names a version.

pub use crate::message::Message;
pub use crate::v2::parts::{
    Admit, BoundListener, Claim, Heartbeat, LastError, ListenerSetting, OnProfileError, Problem,
    QUIET_MOST_MS, Role, Severity, TaskProgress, quiet_ms,
};
pub use crate::v2::reply::ClientReply;
pub use crate::v2::worker::{Family, HandOver};
pub use crate::v3::client::ClientRequest;
pub use crate::v3::parts::{GatewaySettings, Prepare};
pub use crate::v3::report::{MAX_REPORT_LEN, Report};
pub use crate::v3::upkeep::{Autostart, IDLE_MS, ResourceLimits, Upkeep};
pub use crate::v3::worker::{FromWorker, ToWorker};
