//! `hermes whatsapp`: the bridge to WhatsApp, put in place once for all profiles, and the account of a profile, linked to it.

mod look;
mod pair;

use std::io;
use std::time::Duration;

use camino::Utf8Path;
use clap::{Args, Subcommand, ValueHint};
use hermes_host::child;
use hermes_wire::exit;
use hermes_worker::whatsapp_bridge::{self as bridge, Installed};
use serde_json::json;

use super::Call;
use super::interrupt::Interrupt;
use super::output::{self, Output};
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::settings::Draft;

/// Time to say a version.
const VERSION: Duration = Duration::from_secs(10);
/// Time that npm has, unless the profile says otherwise, in seconds.
const INSTALL: u64 = 300;
/// Variables that npm may need, besides what every program gets.
const PASSED: [&str; 8] = [
    "NPM_CONFIG_USERCONFIG",
    "npm_config_userconfig",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "NPM_CONFIG_CACHE",
    "npm_config_cache",
    "NODE_EXTRA_CA_CERTS",
    "no_proxy",
];
/// What npm is to do: exactly what the list says, and to run nothing of it.
const NPM: [&str; 8] = [
    "ci",
    "--omit=dev",
    "--omit=optional",
    "--legacy-peer-deps",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
];

#[derive(Debug, Args)]
pub(super) struct WhatsappArgs {
    #[command(subcommand)]
    command: WhatsappCommand,
}

#[derive(Debug, Subcommand)]
enum WhatsappCommand {
    /// Put the bridge in place: once for all profiles of the gateway.
    #[command(
        after_help = "Needs Node.js 20 or newer with npm, which brings the packages that are listed with this build, and runs no script of \
        theirs. What is there already is not brought again.\n\n\
        Exit codes: 0 it is in place, 1 it is not.\n\nExamples:\n  hermes whatsapp install\n  hermes whatsapp install --force"
    )]
    Install {
        /// Bring the packages again.
        #[arg(long)]
        force: bool,
        /// For programs; what npm prints goes to standard error.
        #[arg(long)]
        json: bool,
    },
    /// Link the selected profile to an account: shows what to scan with the telephone.
    #[command(
        after_help = "On the telephone: WhatsApp, Settings, Linked devices, Link a device. With --phone a code is shown that is typed there \
        instead.\n\nExit codes: 0 the account is linked, 1 it is not.\n\n\
        Examples:\n  hermes whatsapp pair\n  hermes -p coder whatsapp pair --phone +491234567"
    )]
    Pair {
        /// The account's number, to type a code on the telephone instead of scanning.
        #[arg(long, value_name = "NUMBER", value_hint = ValueHint::Other)]
        phone: Option<String>,
        /// Link an account in place of the one that is linked; its session is kept beside the new one.
        #[arg(long)]
        again: bool,
        /// For programs: what the bridge says, an object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show what there is of it: Node.js, the bridge, the selected profile's account, its connection.
    #[command(after_help = "Exit codes: 0 the profile can be connected, 1 something is missing.\n\n\
        Examples:\n  hermes whatsapp status\n  hermes -p coder whatsapp status --json")]
    Status {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes whatsapp`.
pub(super) fn run(args: WhatsappArgs, call: &Call) -> Result<u8, HermesError> {
    match args.command {
        WhatsappCommand::Install { force, json } => install(&call.select_and_warn()?, call, force, json),
        WhatsappCommand::Pair { phone, again, json } => {
            pair::run(&call.select_strict()?, call, phone.as_deref(), again, json)
        }
        WhatsappCommand::Status { json } => look::run(&call.select_and_warn()?, call, json),
    }
}

fn failed(what: impl Into<String>, next: &str) -> HermesError {
    let next = Some(next.to_owned()).filter(|next| !next.is_empty());
    CommandError::WhatsApp { what: what.into(), next }.into()
}

/// What Node.js says that it is.
fn node() -> io::Result<String> {
    let mut command = child::command("node");
    command.arg("--version");
    let output = child::run(command, VERSION)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().chars().filter(|c| !c.is_control()).take(40).collect())
}

/// Node.js as it has to be; its version.
fn usable_node() -> Result<(u32, u32), HermesError> {
    let next =
        format!("install Node.js {} or newer, which comes with npm, where PATH finds it", bridge::NODE);
    let printed = node().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("there is no `node`, which the bridge is run by", &next),
        _ => failed(format!("`node` cannot be asked for its version: {error}"), &next),
    })?;
    let version = bridge::node_version(&printed).filter(|version| version.0 >= bridge::NODE);
    version.ok_or_else(|| failed(format!("`node` is {printed}, which is too old"), &next))
}

fn looked(root: &Utf8Path) -> Result<Installed, HermesError> {
    bridge::look(root)
        .map_err(|error| failed(format!("the bridge's packages cannot be looked at: {error}"), ""))
}

fn install(selection: &Selection, call: &Call, force: bool, json: bool) -> Result<u8, HermesError> {
    let root = selection.root.path();
    let version = usable_node()?;
    let place = bridge::place(root);
    let is_there = looked(root)? == Installed::Current;
    let mut out = Output::stdout();
    if !is_there || force {
        let put = bridge::put_packages(root);
        put.map_err(|error| failed(format!("`{place}` cannot be written: {error}"), ""))?;
        if !json {
            out.line(&format!("Bringing the bridge's packages into {place} …"))?;
        }
        bring(&place, Duration::from_secs(time(selection, call)), json)?;
        if looked(root)? != Installed::Current {
            return Err(failed(
                "npm has ended, and the packages are not there",
                "`hermes whatsapp install --force` tries again",
            ));
        }
    }
    let put = bridge::put_scripts(root);
    put.map_err(|error| failed(format!("the bridge's scripts cannot be written: {error}"), ""))?;
    if json {
        let value = json!({
            "schema": 1, "installed": true, "brought": !is_there || force, "place": place,
            "node": format!("{}.{}", version.0, version.1),
        });
        out.line(&value.to_string())?;
    } else {
        let what = if is_there && !force { "is in place already" } else { "is in place" };
        out.line(&format!("✓ The bridge to WhatsApp {what}: {place}"))?;
        let flag =
            if selection.profile.is_default() { String::new() } else { format!("-p {} ", selection.profile) };
        out.line(&format!("Next: `hermes {flag}whatsapp pair` links an account."))?;
    }
    Ok(exit::OK)
}

/// Seconds that npm has.
fn time(selection: &Selection, call: &Call) -> u64 {
    let draft = Draft::open(&selection.root, &selection.profile, &call.env).ok();
    let said = |key: &str| {
        let value = draft.as_ref()?.get(key).ok()??.value;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let said =
        said("WHATSAPP_NPM_INSTALL_TIMEOUT").or_else(|| said("platforms.whatsapp.npm_install_timeout"));
    said.unwrap_or(INSTALL).clamp(10, 3600)
}

/// Has npm bring what the list says.
fn bring(place: &Utf8Path, limit: Duration, json: bool) -> Result<(), HermesError> {
    let interrupt = Interrupt::new();
    let mut command = child::command_passing("npm", &PASSED);
    command.args(NPM).current_dir(place);
    let again = "`hermes whatsapp install` tries again; WHATSAPP_NPM_INSTALL_TIMEOUT gives npm more seconds";
    match child::run_shown(command, limit, json, |time| interrupt.came_within(time)) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(
            format!("npm could not bring the packages ({status})"),
            "what npm says above names the cause; `hermes whatsapp install` tries again",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed("there is no `npm`", "install the npm that belongs to your Node.js"))
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            output::note("Interrupted; what is there is not used.");
            Err(failed("npm was interrupted", "`hermes whatsapp install` tries again"))
        }
        Err(error) => Err(failed(format!("npm: {error}"), again)),
    }
}
