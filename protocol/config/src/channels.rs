//! What of a profile's two files belongs to its messaging channels, and the files without it: for a copy of a profile, because a bot
//! can serve only one.
//!
//! A channel's are: every variable that a platform reads by name or that begins as its variables do, what is said to all platforms
//! (`GATEWAY_ALLOW…`), the sections of platforms, and what makes a profile the gateway's own: multiplexing, rules, listeners, the
//! identity towards a relay. Comments and everything else stay as they are.
//!
//! Some variables are a channel's and a tool's: the token of Home Assistant, the account of a mailbox. They go along with the channel
//! that would run, and stay where it would not, because then they are there for the tool. Whether it would run is decided by the one
//! reader of platforms. A platform that only the missing of its section would turn on in the copy is turned off there by name.
//!
//! A file in which nobody can tell what belongs to a channel is refused, with its place: passed on as it is, it would take along
//! whatever tokens it holds.

use std::collections::BTreeSet;

use super::glance::{declaration_of_variable, glance};
use super::platform::Registry;
use super::yaml::{self, Value};
use super::{Input, dotenv, dotenv_edit, edit, load};
use hermes_wire::latest::Role;
use hermes_wire::{ProfileHome, ProfileName};

/// Keys of `config.yaml` that make a profile the gateway's own, in both places where that may be said, and those of a relay.
const OF_GATEWAY: [&str; 16] = [
    "multiplex_profiles",
    "gateway.multiplex_profiles",
    "multiplex_profile_allowlist",
    "gateway.multiplex_profile_allowlist",
    "profile_routes",
    "gateway.profile_routes",
    "gateway.listen",
    "gateway.admin",
    "gateway.admin_token",
    "gateway.allow_all_users",
    "gateway.relay_url",
    "gateway.relay_id",
    "gateway.relay_secret",
    "gateway.relay_delivery_key",
    "gateway.relay_inbound_host",
    "gateway.relay_inbound_port",
];

/// Starts of variables that are said to all platforms, and of those of the gateway itself.
const OF_ALL: [&str; 4] = ["GATEWAY_ADMIN_", "GATEWAY_ALLOW", "GATEWAY_RELAY_", "GATEWAY_MULTIPLEX_"];

/// Two files without channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Without {
    /// `config.yaml`; `None`: there was none.
    pub yaml: Option<String>,
    /// `.env`; `None`: there was none.
    pub env: Option<String>,
    /// Platforms that were taken out, sorted.
    pub platforms: Vec<String>,
    /// What else was taken out: keys and variables.
    pub others: Vec<String>,
}

/// Which file cannot be changed, and why, with the place where there is one; quotes no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// `config.yaml`
    Yaml(String),
    /// `.env`
    Env(String),
}

/// The files of the profile at `home`, without its channels.
pub fn without(
    registry: &'static Registry,
    (profile, home): (&ProfileName, &ProfileHome),
    yaml: Option<&[u8]>,
    env: Option<&[u8]>,
) -> Result<Without, Flaw> {
    let running = |yaml: Option<&[u8]>, env: Option<&[u8]>| {
        let (role, multiplex, listeners) = (Role::Primary, None, &[][..]);
        let loaded = load(Input { registry, profile, role, multiplex, listeners, home, yaml, env });
        loaded
            .config
            .map(|config| config.platforms.into_iter().map(|platform| platform.name).collect::<BTreeSet<_>>())
    };
    let on = running(yaml, env);
    let mut out = Without::default();
    let mut platforms = BTreeSet::new();
    let mut for_tools = BTreeSet::new();
    if let Some(bytes) = env {
        let (mut text, _) = dotenv_edit::text(bytes).map_err(|why| Flaw::Env(why.to_string()))?;
        for (name, value) in dotenv::parse(bytes).env.iter() {
            let platform = declaration_of_variable(registry, name);
            if platform.is_none() && !OF_ALL.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            // Of files that cannot be used nobody knows what would run: nothing is risked.
            let is_off = |of: &str| on.as_ref().is_some_and(|on| !on.contains(of));
            match platform {
                Some(of) if of.tools.contains(&name) && is_off(of.name) => {
                    for_tools.insert(of.name);
                    continue;
                }
                // Nothing is left behind with it.
                _ if value.is_empty() => {}
                Some(of) if of.name != "relay" => {
                    platforms.insert(of.name.to_owned());
                }
                _ => out.others.push(name.to_owned()),
            }
            text = dotenv_edit::unset(&text, name).unwrap_or(text);
        }
        out.env = Some(text);
    }
    if let Some(bytes) = yaml {
        let mut text = readable(bytes).map_err(Flaw::Yaml)?.to_owned();
        let seen = glance(registry, bytes);
        platforms.extend(seen.platforms);
        let flaw = |e: edit::EditError| Flaw::Yaml(e.to_string());
        for key in OF_GATEWAY {
            let path: Vec<&str> = key.split('.').collect();
            if let Some(edited) = edit::unset(&text, &path).map_err(flaw)? {
                text = edited;
                out.others.push(key.to_owned());
            }
        }
        for path in &seen.platform_blocks {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            text = edit::unset(&text, &path).map_err(flaw)?.unwrap_or(text);
        }
        out.yaml = Some(text);
    }
    if !for_tools.is_empty() {
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let on = running(bytes(&out.yaml).as_deref(), bytes(&out.env).as_deref()).unwrap_or_default();
        for name in for_tools.into_iter().filter(|name| on.contains(*name)) {
            let off = edit::Value::from(serde_json::json!(false));
            let text = out.yaml.take().unwrap_or_default();
            let edited = edit::set(&text, &["platforms", name, "enabled"], &off);
            out.yaml = Some(edited.map_err(|e| Flaw::Yaml(e.to_string()))?.text);
        }
    }
    out.platforms = platforms.into_iter().collect();
    out.others.sort();
    out.others.dedup();
    Ok(out)
}

/// The text of a `config.yaml` whose keys can be told apart, or why they cannot.
fn readable(bytes: &[u8]) -> Result<&str, String> {
    let (node, flaws) = yaml::parse(bytes);
    if let Some(flaw) = flaws.into_iter().find(|flaw| flaw.fatal) {
        return Err(format!("line {}, column {}: {}", flaw.line, flaw.column, flaw.message));
    }
    match node {
        Some(node) if !node.is_null() && !matches!(node.value, Value::Map(_)) => {
            Err(format!("line {}, column {}: it is no mapping of keys", node.line, node.column))
        }
        _ => std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str, env: &str) -> Without {
        let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
        without(&crate::REGISTRY, (&profile, &home), Some(yaml.as_bytes()), Some(env.as_bytes())).unwrap()
    }

    const MODEL: &str = "# mine\nagent: {engine: echo} # best\n";

    #[test]
    fn what_belongs_to_channels_goes_and_everything_else_stays_as_it_is() {
        let env = "# keys\nOPENAI_API_KEY=k\nTELEGRAM_BOT_TOKEN=t\nTELEGRAM_ALLOWED_USERS=1\nAPI_SERVER_KEY=0123456789abcdef\n\
            WEBHOOK_SECRET=s\nGATEWAY_ALLOW_ALL_USERS=true\nGATEWAY_ALLOWED_USERS=7\nGATEWAY_RELAY_SECRET=r\nSLACK_BOT_TOKEN=\n\
            GATEWAY_MULTIPLEX_PROFILES=1\nGITHUB_TOKEN=g\n";
        let yaml = format!(
            "{MODEL}platforms: {{telegram: {{}}}}\ndiscord: {{token: x}}\nmultiplex_profiles: true\nprofile_routes:\n- platform: telegram\n  \
             profile: a\ngateway:\n  multiplex_profiles: true\n  hold_ms: 1\n  relay_secret: x\n  profile_routes: []\n  webhook: {{port: 1}}\n"
        );
        let out = of(&yaml, env);
        assert_eq!(out.yaml.unwrap(), format!("{MODEL}gateway:\n  hold_ms: 1\n"));
        assert_eq!(out.env.unwrap(), "# keys\nOPENAI_API_KEY=k\nGITHUB_TOKEN=g\n");
        assert_eq!(out.platforms, ["api_server", "discord", "telegram", "webhook"]);
        assert_eq!(
            out.others,
            [
                "GATEWAY_ALLOWED_USERS",
                "GATEWAY_ALLOW_ALL_USERS",
                "GATEWAY_MULTIPLEX_PROFILES",
                "GATEWAY_RELAY_SECRET",
                "gateway.multiplex_profiles",
                "gateway.profile_routes",
                "gateway.relay_secret",
                "multiplex_profiles",
                "profile_routes",
            ]
        );
    }

    /// However it is written: either the platform is gone, or the copy is refused.
    #[test]
    fn no_spelling_keeps_a_platform() {
        for yaml in [
            "telegram: {token: a}\ntelegram: {token: b}\n",
            "platforms: {telegram: {token: a}}\nx: 1\nplatforms: {telegram: {token: b}}\n",
            "'telegram': {token: a}\n",
            "? telegram\n: {token: a}\n",
            "base: &b {token: a}\ntelegram: *b\n",
            "base: &b {telegram: {token: a}}\n<<: *b\n",
            "base: &b {telegram: {token: a}}\nplatforms: *b\n",
            "base: &b {telegram: {token: a}}\nplatforms:\n  <<: *b\n",
            "gateway: &g {telegram: {token: a}}\nother: *g\n",
            "{platforms: {telegram: {token: a}}, gateway: {platforms: {telegram: {token: b}}}}\n",
            "platforms: !x {telegram: {token: a}}\n",
            "TELEGRAM: {token: a}\ntelegram:\n  token: a\n# end",
            "%YAML 1.1\n---\ntelegram: {token: a}\n...\n",
        ] {
            let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
            let names = (&profile, &home);
            let Ok(out) = without(&crate::REGISTRY, names, Some(yaml.as_bytes()), None) else { continue };
            let yaml = out.yaml.unwrap();
            let (role, multiplex, listeners) = (Role::Primary, None, &[][..]);
            let (registry, profile, home, yaml) = (&crate::REGISTRY, &profile, &home, Some(yaml.as_bytes()));
            let loaded = load(Input { registry, profile, role, multiplex, listeners, home, yaml, env: None });
            let config = loaded.config.unwrap();
            assert_eq!(config.platforms, [], "{}", String::from_utf8_lossy(yaml.unwrap()));
        }
    }

    /// A token of a tool stays, unless the channel that has it too would run; its list of people never does.
    #[test]
    fn what_a_tool_uses_too_stays_where_its_channel_is_off() {
        let env = "HASS_TOKEN=h\nHASS_URL=http://h\nHASS_ALLOWED_USERS=1\n";
        let running = of(MODEL, env);
        assert_eq!(
            (running.env.as_deref(), running.platforms.as_slice()),
            (Some(""), &["homeassistant".to_owned()][..])
        );
        let off = of(&format!("{MODEL}platforms:\n  homeassistant:\n    enabled: false\n"), env);
        assert_eq!(off.env.as_deref(), Some("HASS_TOKEN=h\nHASS_URL=http://h\n"));
        assert_eq!(off.platforms, ["homeassistant"]);
        // Without its section the token alone would start it in the copy.
        let yaml = off.yaml.unwrap();
        assert!(
            yaml.starts_with(MODEL) && yaml.contains("homeassistant") && yaml.contains("enabled: false"),
            "{yaml}"
        );
        let again = of(&yaml, off.env.as_deref().unwrap());
        assert_eq!(again.env, off.env);
        // Half of an account is no channel.
        let half = of(MODEL, "TWILIO_AUTH_TOKEN=x\nEMAIL_ADDRESS=a@b\nSMS_PORT=1\n");
        assert_eq!(
            (half.env.as_deref(), half.yaml.as_deref()),
            (Some("TWILIO_AUTH_TOKEN=x\nEMAIL_ADDRESS=a@b\n"), Some(MODEL))
        );
    }

    /// What a file holds that nobody can read must not come along with it.
    #[test]
    fn a_file_that_cannot_be_read_is_refused_with_its_place() {
        let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
        for (yaml, why) in [
            (&b"telegram: {token: secret}\nmodel: [\n"[..], "line 3, column 1: "),
            (b"telegram:\n\ttoken: secret\n", "line 2, column "),
            (b"# no keys\n- telegram: {token: secret}\n", "line 2, column 1: it is no mapping of keys"),
            (b"telegram_token=secret\n", "line 1, column 1: it is no mapping of keys"),
            (b"telegram: {token: secret}\n\xff: 1\n", "line 2, column 1: the text is not UTF-8"),
        ] {
            let refused = without(&crate::REGISTRY, (&profile, &home), Some(yaml), None);
            let Err(Flaw::Yaml(text)) = refused else { panic!("{refused:?}") };
            assert!(text.starts_with(why) && !text.contains("secret"), "{text}");
        }
        for empty in ["", "# nothing\n", "null\n", "---\n"] {
            assert_eq!(of(empty, "TELEGRAM_BOT_TOKEN=t\n").yaml.as_deref(), Some(empty));
        }
    }
}
