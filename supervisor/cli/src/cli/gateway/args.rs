//! What can be typed behind `hermes gateway`.

use clap::{Args, Subcommand, ValueHint};

use super::super::setup::SetupArgs;
use super::super::{NotOne, OneOrWhole, StatusArgs};
use super::install::{InstallArgs, UninstallArgs};
use super::migrate::MigrateArgs;
use crate::service::Scope;

#[derive(Debug, Args)]
pub(in crate::cli) struct GatewayArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<GatewayCommand>,
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,
    /// The profile whose gateway this is [default: the root home's where that serves all profiles, else the one in
    /// `active_profile`, else `default`].
    #[arg(short, long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    profile: Option<String>,
    /// Of earlier versions: hooks are not asked about here.
    #[arg(long, global = true, hide = true)]
    accept_hooks: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GatewayCommand {
    /// Run the gateway in the foreground (also: plain `hermes gateway`).
    #[command(
        after_help = "The first Ctrl-C or SIGTERM drains and ends, a second one ends at once, a third kills.\n\n\
        Exit codes: 0 stopped as asked, 1 already running, 75 start me again, 78 configuration (a retry does not help)."
    )]
    Run {
        #[command(flatten)]
        run: RunArgs,
        /// The profile whose gateway this is [default: the root home's where that serves all profiles, else the one in
        /// `active_profile`, else `default`].
        #[arg(value_name = "NAME", value_hint = ValueHint::Other)]
        name: Option<String>,
    },
    /// Start the gateway in the background, or a profile that was stopped.
    #[command(
        after_help = "Returns when the gateway runs, or has said why it does not: then the exit code is the one of `hermes gateway run`. \
        What runs already is left alone (exit 0). A profile that the gateway of all profiles serves is started there; one that it does not \
        serve gets a gateway of its own.\n\n\
        Examples:\n  hermes gateway start\n  hermes gateway start coder\n  hermes gateway start --all"
    )]
    Start(StartArgs),
    /// Stop one profile and remember that, or the whole gateway.
    #[command(
        after_help = "Returns when it is gone. What does not run is left alone (exit 0). A gateway that does not answer is ended by \
        signals, which is said.\n\n\
        Examples:\n  hermes gateway stop coder\n  hermes gateway stop\n  hermes gateway stop --all"
    )]
    Stop(VerbArgs),
    /// Replace one profile's worker without a gap, or without -p every worker, one after the other.
    #[command(
        after_help = "Without -p everything is checked first; with a fatal problem nothing is restarted (exit 78). \
        A profile whose own files are broken keeps the worker it has, the others are replaced (exit 1). Where \
        the program on disk is another one than the one that runs, that one checks everything, \
        and the gateway takes it up in place: turns finish, connections wait, process id and ports stay. \
        Where no gateway runs, one is started in the background.\n\n\
        Examples:\n  hermes gateway restart coder\n  hermes gateway restart"
    )]
    Restart(RestartArgs),
    /// Put what default's files say now into force as a whole, also what that takes away.
    #[command(
        after_help = "A change of the default profile's files is seen by itself. What it would take away (a listener, the flag, \
        served profiles, the metrics' address) waits for this, or for `hermes gateway restart`, and `hermes status` says so: \
        an empty or half-written file stops nobody.\n\n\
        Example:\n  hermes gateway reload"
    )]
    Reload,
    /// Have a service manager run the gateway: with your session, or with the machine.
    #[command(
        after_help = "What is installed already is brought up to date; a unit that was changed by hand is left alone. The gateway is \
        started, and that it is ready is waited for.\n\n\
        Examples:\n  hermes gateway install\n  hermes gateway install --dry-run\n  sudo hermes gateway install --system"
    )]
    Install {
        #[command(flatten)]
        how: InstallArgs,
        #[command(flatten)]
        whose: OneOrWhole,
    },
    /// Stop the service of the gateway, and remove it.
    #[command(
        after_help = "What is not installed is left alone (exit 0); a unit of another home is refused. Homes are not touched.\n\n\
        Example:\n  hermes gateway uninstall"
    )]
    Uninstall {
        #[command(flatten)]
        how: UninstallArgs,
        #[command(flatten)]
        whose: OneOrWhole,
    },
    /// Show what runs: the same as `hermes status`.
    Status(StatusArgs),
    /// List each profile with the process that serves it.
    List(ListArgs),
    /// From a gateway for each profile to one for all, or back.
    #[command(
        after_help = "What there was before is written to gateway_migration.json in the root home, and --rollback brings it back. \
        Where a profile does not come up, everything goes back by itself. Killed in between, the next one goes on.\n\n\
        Exit codes: 0 done, or nothing to do, 4 done without a profile (--keep-going), 78 something stands against it.\n\n\
        Examples:\n  hermes gateway migrate --dry-run\n  hermes gateway migrate --yes\n  hermes gateway migrate --rollback"
    )]
    Migrate(MigrateArgs),
    /// Remove the unit of before the rename (hermes.service), where it starts a gateway.
    MigrateLegacy {
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Say everything that a start would refuse, and start nothing (exit 78 if there is something).
    Check {
        #[command(flatten)]
        whose: OneOrWhole,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Also say whether this program can take a gateway's listeners over: one that does not know this option cannot.
        #[arg(long, hide = true)]
        renewal: bool,
        /// Only say that this program is a gateway that can take listeners over.
        #[arg(long, hide = true)]
        proof: bool,
        /// Only say that this program goes on with the workers of a gateway that becomes it.
        #[arg(long, hide = true)]
        succession: bool,
    },
    /// Set up how a profile is reached: the part of `hermes setup` that is about platforms.
    Setup(SetupArgs),
}

#[derive(Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(in crate::cli) struct RunArgs {
    /// Take over from a gateway that already runs for this home.
    #[arg(long)]
    pub(in crate::cli) replace: bool,
    /// For a named profile: detach it from the running gateway and give it a gateway of its own.
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// More on standard error: -v what happens, -vv why.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(in crate::cli) verbose: u8,
    /// Nothing on standard error.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(in crate::cli) quiet: bool,
    /// Another program starts this one again when it ends: newer Python programs are told so.
    #[arg(long)]
    pub(in crate::cli) external_supervisor: bool,
    /// Of earlier versions, whose containers gave the gateway to another supervisor: here it never is.
    #[arg(long, hide = true)]
    pub(in crate::cli) no_supervise: bool,
}

/// What all verbs that change something know.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerbArgs {
    #[command(flatten)]
    pub(in crate::cli) whose: OneOrWhole,
    /// Each profile of this home, whoever runs it.
    #[arg(long, conflicts_with = "name")]
    pub(in crate::cli) all: bool,
    /// For programs: one object with what was asked, what was observed, and whether anything changed.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// The service of the machine, where the user has one as well.
    #[arg(long, conflicts_with = "all")]
    pub(in crate::cli) system: bool,
    /// Of earlier versions, which did not look at it either.
    #[arg(long, hide = true, value_name = "NAME")]
    platform: Option<String>,
}

impl VerbArgs {
    /// Whose services are meant.
    pub(in crate::cli) fn scope(&self) -> Option<Scope> {
        self.system.then_some(Scope::System)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    #[command(flatten)]
    pub(in crate::cli) verb: VerbArgs,
    /// Run it here instead of in the background, as `hermes gateway run` does.
    #[arg(long, conflicts_with_all = ["all", "json"])]
    pub(in crate::cli) foreground: bool,
    /// For a named profile: detach it from the running gateway and give it a gateway of its own.
    #[arg(long, conflicts_with = "all")]
    pub(in crate::cli) force: bool,
    /// End the gateway of its own that a profile has, this program's or the Python program's, and a Python program's that uses one
    /// of its bots elsewhere, and serve the profile instead.
    #[arg(long, conflicts_with_all = ["all", "force"])]
    pub(in crate::cli) take_over: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RestartArgs {
    #[command(flatten)]
    pub(in crate::cli) verb: VerbArgs,
    /// End the gateway that runs, and run it here.
    #[arg(long, conflicts_with_all = ["all", "json"])]
    pub(in crate::cli) foreground: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    _whose: NotOne,
    /// For programs.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
