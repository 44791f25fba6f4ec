//! What `platforms.homeassistant` and the `HASS_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::platform::{
    self, BASE, Declaration, Fault, Section, Spot, claim, field, folded, or, part, switch,
};
use hermes_config::row::Kind::{Bool, Int, List, Section as Mapping, Text};
use hermes_config::row::{Group, key};
use reqwest::Url;

use super::watch::Filter;
use super::wire::is_entity;
use crate::platform::settings::{self, Faults};

/// The platform's name.
pub(super) const NAME: &str = "homeassistant";
/// Where 0.19.0 looks for a house that nobody names. Plain HTTP does not go there from here.
const USUAL: &str = "http://homeassistant.local:8123";
/// Seconds for which an entity that spoke is silent, where nothing is set, and at most.
const COOLDOWN: u64 = 30;
const LONGEST: u64 = 24 * 3600;

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "HASS",
    prefixes: &["HOMEASSISTANT"],
    tools: &["HASS_TOKEN", "HASS_URL"],
    credentials: &[&[field("HASS_TOKEN", "token")]],
    claims: &[claim(
        "homeassistant-token",
        &[or(folded("HASS_URL", "url"), USUAL), part("HASS_TOKEN", "token")],
    )],
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Home Assistant",
    intro: "A long-lived access token and the address turn it on: what changes in the house becomes messages, and answers become \
            notifications there. Every key may also stand below `extra`, which wins.",
    outro: "",
    keys: &[
        key("platforms.homeassistant", Mapping, "a house of Home Assistant"),
        key(
            "platforms.homeassistant.url",
            Text,
            "where it is; `http:` for this machine's own addresses only, so another machine's needs TLS or a tunnel",
        )
        .env("HASS_URL"),
        key("platforms.homeassistant.token", Text, "a long-lived access token; better in `.env`")
            .env("HASS_TOKEN")
            .secret(),
        key("platforms.homeassistant.watch_domains", List, "kinds of entities that are told of, as `light`"),
        key("platforms.homeassistant.watch_entities", List, "entities that are told of, as `lock.front_door`"),
        key("platforms.homeassistant.watch_all", Bool, "tell of all of them, where neither is listed").no(),
        key("platforms.homeassistant.ignore_entities", List, "entities that are never told of"),
        key(
            "platforms.homeassistant.cooldown_seconds",
            Int(0, 24 * 3600),
            "for so long an entity that was told of is not told of again; how it is then is told behind that",
        )
        .int(30),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where it is, with `/` at the end; none: for a reason that [`fault`](Self::fault) says.
    pub(super) base: Option<Url>,
    pub(super) token: Secret,
    pub(super) filter: Filter,
    pub(super) cooldown: Duration,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.token]
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let address = section.text("url", "HASS_URL");
    let token = section.secret("token", "HASS_TOKEN").unwrap_or_else(|| Secret::new(""));
    let mut faults = Faults::of(section);
    let base = base_of(&mut faults, address.as_deref().unwrap_or(USUAL));
    judge_token(&mut faults, &token);
    let fault = faults.first;
    let mut entities = |key: &'static str| {
        let (good, bad): (BTreeSet<String>, BTreeSet<String>) =
            section.list(key, "").into_iter().partition(|text| is_entity(text));
        if !bad.is_empty() {
            let message = format!("{} of homeassistant's {key} are no ids of entities", bad.len());
            section.warn("entity_id", Spot::Key(key), message, "Write them as `light.kitchen`.");
        }
        good
    };
    let (watched, ignored) = (entities("watch_entities"), entities("ignore_entities"));
    let filter = Filter {
        domains: section.list("watch_domains", "").into_iter().collect(),
        entities: watched,
        all: switch(section, "watch_all", "", false),
        ignored,
    };
    let cooldown = section.number("cooldown_seconds", "", 0..=LONGEST).unwrap_or(COOLDOWN);
    Arc::new(Settings { base, token, filter, cooldown: Duration::from_secs(cooldown), fault })
}

/// An address that the token may go to, with `/` at its end.
fn base_of(faults: &mut Faults<'_>, text: &str) -> Option<Url> {
    const AT: (&str, &str) = ("url", "HASS_URL");
    const FIX: &str = "Set HASS_URL to an address with TLS, as https://home.example.org, or to one of this machine's own, as \
                       http://127.0.0.1:8123, behind which a tunnel leads there.";
    let Some(mut url) = settings::address(text) else {
        let what = "homeassistant's url is no address that a token may go to: `https:`, or `http:` on this machine's own addresses; \
                    over plain HTTP everybody between could read the token, which opens the house";
        faults.say_of("homeassistant_url", AT, what, FIX);
        return None;
    };
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

fn judge_token(faults: &mut Faults<'_>, token: &Secret) {
    const AT: (&str, &str) = ("token", "HASS_TOKEN");
    const FIX: &str =
        "Make a long-lived access token: your profile in Home Assistant, Security, at the end of the page.";
    if token.is_empty() {
        faults.say_of("homeassistant_config_missing", AT, "homeassistant has no access token", FIX);
    } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = "the access token of homeassistant holds signs that no token has";
        faults.say_of("homeassistant_invalid_auth", AT, what, FIX);
    }
}
