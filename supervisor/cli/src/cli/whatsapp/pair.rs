//! Linking an account: the bridge is run here, on its own, and says what is to be scanned.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use camino::Utf8Path;
use hermes_host::{child, clock};
use hermes_wire::exit;
use hermes_wire::text::visible;
use hermes_worker::whatsapp_bridge::{self as bridge, Installed};
use serde::Deserialize;
use serde_json::json;

use super::{failed, looked, usable_node};
use crate::cli::Call;
use crate::cli::output::{self, Output};
use crate::error::HermesError;
use crate::home::Selection;
use crate::settings::Draft;

/// Longest line that is read of the bridge, in bytes.
const LINE: u64 = 64 * 1024;

/// What the bridge says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "event")]
    what: String,
    text: String,
    code: String,
    me: String,
    name: String,
    reason: String,
}

/// `hermes whatsapp pair`.
pub(super) fn run(
    selection: &Selection,
    call: &Call,
    phone: Option<&str>,
    again: bool,
    json: bool,
) -> Result<u8, HermesError> {
    let home = selection.home();
    let flag =
        if selection.profile.is_default() { String::new() } else { format!("-p {} ", selection.profile) };
    if let Some(phone) = phone
        && !(6..=15).contains(&phone.chars().filter(char::is_ascii_digit).count())
    {
        return Err(failed("the number is none: its country comes first, as in +491234567", ""));
    }
    let version = usable_node()?;
    let root = selection.root.path();
    if looked(root)? == Installed::Nothing {
        return Err(failed(
            "the bridge is not installed",
            "`hermes whatsapp install` does that, once for all profiles",
        ));
    }
    let config =
        Draft::open(&selection.root, &selection.profile, &call.env).ok().and_then(|draft| draft.config());
    let session = match &config {
        Some(config) => bridge::session(config, home.path()),
        None => bridge::session_of_nobody(home.path()),
    };
    let mut out = Output::stdout();
    let unreadable =
        |error: io::Error| failed(format!("the session `{session}` cannot be used: {error}"), "");
    let linked = bridge::account(&session).map_err(unreadable)?;
    if let Some(linked) = &linked
        && !again
    {
        if json {
            out.line(&json!({"event": "already_paired", "me": linked}).to_string())?;
        } else {
            out.line(&format!("Profile '{}' is linked to {} already.", selection.profile, visible(linked)))?;
            out.line(&format!(
                "Next: `hermes {flag}whatsapp pair --again` links another account in its place."
            ))?;
        }
        return Ok(exit::OK);
    }
    if let Some(pid) = bridge::holder(&session) {
        return Err(failed(
            format!("process {pid} runs a bridge with this session"),
            &format!(
                "set WHATSAPP_ENABLED=false in {} and wait a moment, or stop the gateway that has started it",
                home.env_file()
            ),
        ));
    }
    if linked.is_some() {
        let mut second = clock::utc().as_second();
        let aside = loop {
            let aside = format!("{session}.{second}");
            match fs_err::rename(&session, &aside) {
                Ok(()) => break aside,
                // One was put aside in the same second.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => second += 1,
                Err(error) => return Err(unreadable(error)),
            }
        };
        output::note(&format!("The session that was there is kept: {aside}"));
    }
    hermes_host::file::make_dirs(&session, 0o700).map_err(unreadable)?;
    let me = talk(&mut out, root, &session, version, phone, json)?;
    if json {
        return Ok(exit::OK);
    }
    out.line(&format!("✓ Profile '{}' is linked to {}.", selection.profile, visible(&me)))?;
    let is_on =
        config.is_some_and(|config| config.platforms.iter().any(|platform| platform.name == "whatsapp"));
    if is_on {
        out.line(&format!("Next: `hermes gateway restart {}` connects it.", selection.profile))?;
    } else {
        out.line(&format!("Next: put WHATSAPP_ENABLED=true into {}.", home.env_file()))?;
    }
    Ok(exit::OK)
}

/// Runs the bridge until the account is linked; who that is.
fn talk(
    out: &mut Output,
    root: &Utf8Path,
    session: &Utf8Path,
    version: (u32, u32),
    phone: Option<&str>,
    json: bool,
) -> Result<String, HermesError> {
    let start = |error: io::Error| {
        failed(
            format!("the bridge cannot be started: {error}"),
            "`hermes whatsapp install --force` puts it in place anew",
        )
    };
    let script = bridge::put_scripts(root).and_then(|script| script.canonicalize_utf8()).map_err(start)?;
    let packages = bridge::place(root).canonicalize_utf8().map_err(start)?;
    let real = session.canonicalize_utf8().map_err(start)?;
    let mut command = child::command("node");
    command.args(bridge::permissions(version, &[&packages], &[&real]));
    command.args([script.as_str(), "--pair", "--session", real.as_str()]);
    if let Some(phone) = phone {
        command.args(["--phone", phone]);
    }
    // Its input is open as long as this command lives, and no longer.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(start)?;
    let input = child.stdin.take();
    let mut paired = None;
    let mut why = None;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut shown = 0;
        loop {
            let mut line = String::new();
            if lines.by_ref().take(LINE).read_line(&mut line).map_err(start)? == 0 {
                break;
            }
            let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
            if json {
                out.line(line.trim_end())?;
            }
            match event.what.as_str() {
                "qr" if !json => {
                    shown += 1;
                    let which = if shown == 1 { "" } else { " (the one before is not valid any more)" };
                    out.line(&format!(
                        "Scan this with the telephone{which}: WhatsApp, Settings, Linked devices, Link a device.\n\n{}",
                        event.text.trim_end()
                    ))?;
                }
                "code" if !json => out.line(&format!(
                    "Type this code on the telephone: {}\nWhatsApp, Settings, Linked devices, Link a device, Link with phone number instead.",
                    visible(&event.code)
                ))?,
                "paired" => paired = Some(if event.name.is_empty() { event.me } else { format!("{} ({})", event.name, event.me) }),
                "timed_out" => why = Some("nobody has scanned it in time".to_owned()),
                "logged_out" | "unable" => why = Some(event.reason),
                "log" if !json => output::warn(&visible(&event.text)),
                _ => {}
            }
        }
    }
    drop(input);
    let status = child.wait().map_err(start)?;
    paired.ok_or_else(|| {
        let why = why.unwrap_or_else(|| format!("the bridge has ended ({status})"));
        failed(
            format!("the account is not linked: {}", visible(&why)),
            "`hermes whatsapp pair` tries again; the machine has to reach web.whatsapp.com",
        )
    })
}
