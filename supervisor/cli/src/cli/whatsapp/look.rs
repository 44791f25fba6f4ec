//! What there is of WhatsApp on this machine, from Node.js to the connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use hermes_host::disk;
use hermes_wire::exit;
use hermes_wire::text::visible;
use hermes_worker::whatsapp_bridge::{self as bridge, Installed, Kind, Reach};
use serde_json::{Value, json};

use super::{looked, node};
use crate::cli::Call;
use crate::cli::output::Output;
use crate::error::HermesError;
use crate::home::Selection;
use crate::settings::Draft;

/// Time for an answer of the bridge.
const TIME: Duration = Duration::from_secs(3);
/// Most that is read of it, in bytes.
const MOST: u64 = 64 * 1024;

/// `hermes whatsapp status`.
pub(super) fn run(selection: &Selection, call: &Call, json: bool) -> Result<u8, HermesError> {
    let home = selection.home();
    let node = node().ok();
    let usable =
        node.as_deref().and_then(bridge::node_version).is_some_and(|version| version.0 >= bridge::NODE);
    let config =
        Draft::open(&selection.root, &selection.profile, &call.env).ok().and_then(|draft| draft.config());
    let kind = config.as_ref().map_or(Kind::Own, |config| bridge::kind(config, home.path()));
    let session = match &config {
        Some(config) => bridge::session(config, home.path()),
        None => bridge::session_of_nobody(home.path()),
    };
    let linked = bridge::account(&session);
    let is_on = config
        .as_ref()
        .is_some_and(|config| config.platforms.iter().any(|platform| platform.name == "whatsapp"));
    if let Kind::At(address) = &kind {
        return elsewhere(address, is_on, selection, json);
    }
    let program = Program::of(&kind, selection)?;
    let reach = bridge::reach(home.path());
    let health = match &reach {
        Ok(Some(reach)) => health(reach).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    let (linked, damage) = match linked {
        Ok(linked) => (linked, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let (health, unanswered) = match health {
        Ok(health) => (health, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let status = health
        .as_ref()
        .and_then(|health| health["status"].as_str())
        .map(|status| visible(status).into_owned());
    let waiting = health.as_ref().and_then(|health| health["queueLength"].as_u64());
    let can = usable && program.is_there && linked.is_some() && is_on;
    let mut out = Output::stdout();
    if json {
        let value = json!({
            "schema": 1, "profile": selection.profile, "node": node, "node_usable": usable, "installed": program.installed,
            "enabled": is_on, "account": linked, "session": session, "session_error": damage,
            "bridge": {"running": health.is_some(), "whatsapp": status, "waiting": waiting, "error": unanswered},
        });
        out.line(&value.to_string())?;
        return Ok(if can { exit::OK } else { exit::FAILURE });
    }
    let flag =
        if selection.profile.is_default() { String::new() } else { format!("-p {} ", selection.profile) };
    let node_line = match (&node, usable) {
        (Some(node), true) => format!("✓ Node.js: {node}"),
        (Some(node), false) => format!("✗ Node.js: {node} is too old; install {} or newer", bridge::NODE),
        (None, _) => format!("✗ Node.js: there is none; install {} or newer", bridge::NODE),
    };
    let account_line = match (&linked, &damage) {
        (Some(account), _) => format!("✓ Account: {}", visible(account)),
        (None, Some(damage)) => format!("✗ Account: {}", visible(damage)),
        (None, None) => format!("✗ Account: none is linked; `hermes {flag}whatsapp pair` does that"),
    };
    let connection_line = match (&status, &unanswered) {
        (Some(status), _) if status == "connected" => "✓ Connection: connected".to_owned(),
        (Some(status), _) => format!("! Connection: the bridge runs, and WhatsApp is {status}"),
        (None, Some(error)) => format!("! Connection: the bridge does not answer ({})", visible(error)),
        (None, None) => "- Connection: the bridge does not run".to_owned(),
    };
    for line in [node_line, program.line, account_line, on_line(is_on, selection), connection_line] {
        out.line(&line)?;
    }
    if let Some(waiting) = waiting.filter(|waiting| *waiting > 0) {
        out.line(&format!("  {waiting} messages wait to be taken"))?;
    }
    Ok(if can { exit::OK } else { exit::FAILURE })
}

/// The program of a bridge that the gateway starts.
struct Program {
    is_there: bool,
    /// For programs.
    installed: Value,
    /// For people.
    line: String,
}

impl Program {
    fn of(kind: &Kind, selection: &Selection) -> Result<Self, HermesError> {
        if let Kind::Script(path) = kind {
            let (is_there, line) = match disk::is_there(path) {
                Ok(true) => (true, format!("✓ Bridge: the script {path}")),
                Ok(false) => (false, format!("✗ Bridge: the script {path} (bridge_script) is not there")),
                Err(error) => (false, format!("✗ Bridge: the script {path} cannot be looked at: {error}")),
            };
            return Ok(Self { is_there, installed: json!(is_there), line });
        }
        let installed = looked(selection.root.path())?;
        let line = match &installed {
            Installed::Current => "✓ Bridge: installed".to_owned(),
            Installed::Other(version) => format!(
                "! Bridge: installed with other packages ({}); `hermes whatsapp install` brings those of this build",
                visible(version)
            ),
            Installed::Nothing => "✗ Bridge: not installed; `hermes whatsapp install` does that".to_owned(),
        };
        let (is_there, installed) = match installed {
            Installed::Nothing => (false, json!(false)),
            Installed::Current => (true, json!(true)),
            Installed::Other(version) => (true, json!(version)),
        };
        Ok(Self { is_there, installed, line })
    }
}

/// A bridge that somebody else runs: Node.js and the account are its own business.
fn elsewhere(address: &str, is_on: bool, selection: &Selection, json: bool) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    if json {
        let value =
            json!({"schema": 1, "profile": selection.profile, "enabled": is_on, "bridge": {"url": address}});
        out.line(&value.to_string())?;
    } else {
        out.line(&format!("- Bridge: somebody else's, at {address}; `hermes doctor --online` asks it"))?;
        out.line(&on_line(is_on, selection))?;
    }
    Ok(if is_on { exit::OK } else { exit::FAILURE })
}

fn on_line(is_on: bool, selection: &Selection) -> String {
    let (profile, file) = (&selection.profile, selection.home().env_file());
    if is_on {
        format!("✓ Profile '{profile}': WhatsApp is on")
    } else {
        format!("✗ Profile '{profile}': WhatsApp is off; WHATSAPP_ENABLED=true in {file} turns it on")
    }
}

/// What the bridge says of itself.
fn health(reach: &Reach) -> io::Result<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reach.port));
    let mut stream = TcpStream::connect_timeout(&address, TIME)?;
    stream.set_read_timeout(Some(TIME))?;
    stream.set_write_timeout(Some(TIME))?;
    let secret = reach.secret.as_deref().unwrap_or_default();
    write!(
        stream,
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n\r\n",
        reach.port
    )?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let odd = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| &answer[at + 4..]);
    let is_fine = answer.starts_with(b"HTTP/1.1 200 ");
    let body =
        body.filter(|_| is_fine).ok_or_else(|| odd("what answers there is no bridge of this profile"))?;
    serde_json::from_slice(body).map_err(|_| odd("its answer is not understood"))
}
