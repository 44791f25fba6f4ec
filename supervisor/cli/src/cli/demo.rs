//! `hermes demo`: a real gateway on a throw-away home, and the commands to try on it.
//!
//! Three profiles with the `echo` engine, so no key and no network is needed. Listeners are on the loopback interface with ports
//! the system chooses. The home is removed when the gateway ends, however it ends short of being killed.

use std::fmt::Write as _;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::app::{self, GatewayOptions};
use hermes_gateway::logging::{self, Verbosity};
use hermes_host::refusal::Io;
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::{ProfileName, RootHome};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::gateway;
use super::output::Output;
use crate::error::HermesError;
use crate::home::Surroundings;

const PROFILES: [&str; 3] = ["default", "coder", "ops"];
const ROUTE: &str = "hello";
const EVENT: &str = r#"{"name":"world"}"#;

/// `hermes demo`.
pub(super) fn run(verbose: u8, env: &Surroundings, settle: fn(), mut out: Output) -> Result<u8, HermesError> {
    let place = |source| Io::at("make a throw-away home in", env.temp_dir.as_path())(source);
    let dir = tempfile::Builder::new().prefix("hermes-demo-").tempdir_in(&env.temp_dir).map_err(place)?;
    let path = dir.path().canonicalize().map_err(place)?;
    let path = Utf8PathBuf::from_path_buf(path).map_err(|_| place(io::ErrorKind::InvalidFilename.into()))?;
    let root = RootHome::new(path);
    furnish(&root).map_err(place)?;
    if let Err(e) = logging::init(&root, Verbosity::from_flags(verbose, false)) {
        tracing::warn!(error = %e, "there is no log file");
    }
    out.line(&format!("⚕ Starting a demo in {} …", root.path()))?;
    let program = std::env::current_exe()
        .ok()
        .and_then(|exe| Utf8PathBuf::from_path_buf(exe).ok())
        .unwrap_or_else(|| "hermes".into());
    let home = root.clone();
    let profile = ProfileName::default_profile();
    let announcement =
        gateway::announce(root.path().to_owned(), profile.clone(), env.clone(), move |status| {
            instructions(&home, &program, status)
        });
    let result = app::run(GatewayOptions {
        root,
        profile,
        replace: false,
        repeatable: false,
        settle,
        sockets: env.sockets.clone(),
        // It comes and goes, and must be nobody's host.
        rendezvous: None,
    });
    announcement.cancel();
    let path = dir.path().to_owned();
    drop(dir);
    if !path.exists() {
        out.line("⚕ The demo is over; its home is removed.")?;
    }
    Ok(result?)
}

fn key(profile: &str) -> String {
    format!("demo-key-of-{profile}-2f6c9a1e")
}

fn secret(profile: &str) -> String {
    format!("demo-secret-of-{profile}-7d03b5")
}

/// Writes the three homes.
fn furnish(root: &RootHome) -> io::Result<()> {
    for name in PROFILES {
        let home = root.profile(&name.parse().expect("the names above are valid"));
        fs_err::create_dir_all(home.path())?;
        let routes = format!("{{{ROUTE}: {{prompt: 'Say hello to {{name}}.'}}}}");
        let config = if name == hermes_wire::profile::DEFAULT {
            format!(
                "agent: {{engine: echo}}\n\
                 gateway: {{multiplex_profiles: true}}\n\
                 platforms:\n\
                 \x20 webhook:\n    enabled: true\n    extra:\n      host: 127.0.0.1\n      port: 0\n      secret: {}\n      routes: {routes}\n\
                 \x20 api_server:\n    enabled: true\n    extra: {{host: 127.0.0.1, port: 0}}\n",
                secret(name)
            )
        } else {
            format!(
                "agent: {{engine: echo}}\nplatforms:\n  webhook:\n    extra:\n      secret: {}\n      routes: {routes}\n",
                secret(name)
            )
        };
        write_private(&home.config(), &config)?;
        write_private(&home.env_file(), &format!("API_SERVER_KEY={}\n", key(name)))?;
    }
    Ok(())
}

fn write_private(path: &Utf8Path, text: &str) -> io::Result<()> {
    hermes_host::disk::write_atomic(path, text.as_bytes(), false)
}

/// The commands to try.
fn instructions(root: &RootHome, program: &Utf8Path, status: &GatewayStatus) -> String {
    let address = |platform: &str| {
        let found = status.gateway.listeners.iter().find(|l| l.platforms.iter().any(|p| p == platform));
        found.map_or_else(|| "127.0.0.1".to_owned(), |l| l.address.clone())
    };
    let (api, webhook) = (address("api_server"), address("webhook"));
    let home = quoted(root.path().as_str());
    let hermes = format!("HERMES_HOME={home} {}", quoted(program.as_str()));
    let chat = |prefix: &str, profile: &str, flags: &str, stream: &str| {
        format!(
            "curl -s{flags} -w '\\n' http://{api}{prefix}/v1/chat/completions \\\n    \
               -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\\n    \
               -d '{{\"model\":\"{profile}\",{stream}\"messages\":[{{\"role\":\"user\",\"content\":\"Hello from the demo\"}}]}}'",
            key(profile)
        )
    };
    let hook = |prefix: &str, profile: &str| {
        format!(
            "curl -s -w '\\n' http://{webhook}{prefix}/webhooks/{ROUTE} \\\n    \
               -H 'Content-Type: application/json' -H 'X-Hub-Signature-256: sha256={}' \\\n    \
               -d '{EVENT}'",
            signature(&secret(profile), EVENT.as_bytes())
        )
    };
    let log = root.profile(&"ops".parse().expect("a valid name")).gateway_log();
    let kill = status.profiles.iter().find(|p| p.name == "coder").and_then(|p| p.pid);
    let kill = kill.map_or_else(String::new, |pid| {
        format!("kill -9 {pid}; {hermes} status      # coder is back before you look; nobody else noticed")
    });
    let mut text = format!(
        "⚕ Ready: the profiles {} behind one gateway, each in a process of its own.\n\
         Their engine is `echo`: no model, it answers with what it was sent.\n\n\
         Paste into a second terminal:\n",
        PROFILES.join(", ")
    );
    let sections = [
        ("Who runs, since when, why not", format!("{hermes} status")),
        ("Ask profile coder, the OpenAI way", chat("/p/coder", "coder", "", "")),
        ("The same as a stream", chat("/p/coder", "coder", "N", "\"stream\":true,")),
        ("Without a prefix it is profile default", chat("", "default", "", "")),
        ("A signed webhook for ops (202: it is on disk)", hook("/p/ops", "ops")),
        ("… and what became of it", format!("tail -n 3 {}", quoted(log.as_str()))),
        ("A key opens its own profile only (401)", {
            format!(
                "curl -si -w '\\n' http://{api}/p/ops/v1/models -H 'Authorization: Bearer {}'",
                key("coder")
            )
        }),
        ("Kill one", kill),
        ("Replace one worker without a gap", format!("{hermes} gateway restart -p coder")),
    ];
    for (title, command) in sections.iter().filter(|(_, command)| !command.is_empty()) {
        let _ = write!(text, "\n  # {title}\n  {command}\n");
    }
    let _ = write!(text, "\nPress Ctrl+C to stop; {} is removed then.\n", root.path());
    text
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::render::tests::{gateway, profile};

    #[test]
    fn the_homes_hold_configuration_and_keys() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        furnish(&root).unwrap();
        let names: Vec<_> = hermes_gateway::watch::scan(&root).names().map(ToString::to_string).collect();
        assert_eq!(names, PROFILES);
        let keys = fs_err::read_to_string(root.path().join("profiles/coder/.env")).unwrap();
        assert_eq!(keys, format!("API_SERVER_KEY={}\n", key("coder")));
    }

    #[test]
    fn commands_can_be_pasted() {
        let ready = hermes_wire::contract::gateway_status::state::READY;
        let status = gateway(PROFILES.map(|name| profile(name, ready)).to_vec());
        let text = instructions(&RootHome::new("/tmp/a b"), "/x/hermes".into(), &status);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn quoting_survives_a_shell() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_signature_is_what_senders_compute() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
