//! Puts the parts together: the only place that knows all of them.

use hermes_protocol::latest::Problem;
use hermes_protocol::{ProfileName, RootHome};

/// What `hermes gateway run` was asked to do. The command line has already refused a profile that a live gateway serves, and
/// with `--force` has asked that gateway to detach it.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The root home, absolute and resolved.
    pub root: RootHome,
    /// The profile whose gateway this is: `default`, or a profile that runs on its own.
    pub profile: ProfileName,
    /// Take over from a gateway that already runs for this home.
    pub replace: bool,
}

/// What `hermes gateway check` was asked to do.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The root home, absolute and resolved.
    pub root: RootHome,
    /// The profile whose gateway would start.
    pub profile: ProfileName,
}

/// What a start would meet.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Profiles that would be served, `default` first.
    pub served: Vec<ProfileName>,
    /// Everything that is wrong, by profile (`None`: the gateway itself), worst first.
    pub problems: Vec<(Option<ProfileName>, Problem)>,
    /// Whether a start would be refused: then the exit code is 78.
    pub refused: bool,
}

/// Why the gateway could not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Some part could not be set up.
    #[error("cannot {what} `{object}`")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// To what.
        object: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs the gateway until it is told to stop, in a runtime of its own; the result is the exit code.
pub fn run(_options: GatewayOptions) -> Result<u8, AppError> {
    Ok(hermes_protocol::exit::OK)
}

/// Does what a start does as far as the decision about admission, and starts nothing.
pub fn check(_options: CheckOptions) -> Result<CheckReport, AppError> {
    Ok(CheckReport::default())
}
