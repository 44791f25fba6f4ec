//! What `platforms.webhook` may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::platform::{self, BASE, Binds, Declaration, Fault, Listener, Section, Spot, field};
use hermes_config::row::Kind::{Any, Bool, Choice, Count, Int, List, Section as Mapping, Text};
use hermes_config::row::{Group, Kind, kept, key};
use hermes_config::{Secret, is_loopback, redact, shorten};
use hermes_wire::ProfileName;
use serde::{Deserialize, Serialize};

/// A secret that turns authentication off.
pub(super) const NO_AUTH: &str = "INSECURE_NO_AUTH";
/// Port of a listener that does not say.
const DEFAULT_PORT: u16 = 8644;
const DEFAULT_MAX_BODY: u64 = 1 << 20;

/// What it declares.
pub(crate) static DECLARATION: Declaration = Declaration {
    name: "webhook",
    prefix: "WEBHOOK",
    switch: Some("WEBHOOK_ENABLED"),
    binds: Binds::Port,
    listener: Some(Listener {
        host: field("", "host"),
        default_host: None,
        port: field("WEBHOOK_PORT", "port"),
        default_port: DEFAULT_PORT,
        paths: &["/webhooks/"],
        is_api: false,
        opened_by: "",
    }),
    adapter: true,
    keys: Some(&KEYS),
    kept: &[
        kept("platforms.webhook.routes.*.toolsets", List),
        kept("platforms.webhook.routes.*.cron_job", Text),
        kept("platforms.webhook.routes.*.coalesce", Any),
        kept("platforms.webhook.routes.*.created_at", Any),
    ],
    read: Some(read),
    ..BASE
};

const MINUTES: Kind = Int(1, u32::MAX as i64);
const PORT: Kind = Int(0, u16::MAX as i64);

/// Its rows.
static KEYS: Group = Group {
    title: "Webhooks",
    intro: "Every key may also stand below `extra`, which wins. `enabled`, `host` and `port` belong into the default profile's \
            file only; the rest into the file of each profile that has routes.",
    outro: "",
    keys: &[
        key("platforms.webhook", Mapping, "requests from outside that begin a turn"),
        key("platforms.webhook.enabled", Bool, "listen for webhooks; `false` always wins")
            .env("WEBHOOK_ENABLED")
            .primary(),
        key("platforms.webhook.host", Text, "address to listen on; all interfaces without it").primary(),
        key("platforms.webhook.port", PORT, "port to listen on; 0: any")
            .int(8644)
            .env("WEBHOOK_PORT")
            .primary(),
        key("platforms.webhook.secret", Text, "secret of routes without their own")
            .env("WEBHOOK_SECRET")
            .secret(),
        key("platforms.webhook.rate_limit", MINUTES, "authenticated requests a minute and route").int(30),
        key("platforms.webhook.max_body_bytes", Int(1, 1 << 40), "largest body").int(1 << 20),
        key("platforms.webhook.script_timeout_seconds", Count(86_400), "time a route's script has").int(30),
        key(
            "platforms.webhook.routes.*.secret",
            Text,
            "its own secret, which must not be empty; `INSECURE_NO_AUTH` turns authentication off, on loopback only",
        )
        .secret(),
        key(
            "platforms.webhook.routes.*.signature",
            Choice(&Scheme::NAMES),
            "the vendor whose signatures it takes, and no others; without it the headers of the request tell",
        ),
        key("platforms.webhook.routes.*.enabled", Bool, "whether it answers").yes(),
        key("platforms.webhook.routes.*.events", List, "types of events let through, all of them without it"),
        key("platforms.webhook.routes.*.filters", Any, "conditions on the payload, all of which must hold"),
        key(
            "platforms.webhook.routes.*.script",
            Text,
            "a file below `scripts/` that changes the payload or drops it",
        ),
        key("platforms.webhook.routes.*.prompt", Text, "the message, with `{fields}` of the payload"),
        key(
            "platforms.webhook.routes.*.skills",
            List,
            "skills to work by: the first that there is comes before the prompt",
        ),
        key("platforms.webhook.routes.*.deliver", Text, "where the answer goes: `log`, `github_comment`")
            .text("log"),
        key("platforms.webhook.routes.*.deliver_extra", Any, "what the delivery needs, with `{fields}` too"),
        key("platforms.webhook.routes.*.deliver_only", Bool, "deliver the message itself, without a turn")
            .no(),
        key(
            "platforms.webhook.routes.*.profile",
            Text,
            "in the default profile's file: the profile it belongs to",
        ),
        key("platforms.webhook.routes.*.description", Text, "for people"),
    ],
};

/// `platforms.webhook`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Secret of routes without their own.
    pub(crate) secret: Option<Secret>,
    /// This profile's own routes in file order: those of the default profile's file that carry `profile: <other>` are not
    /// among them.
    pub(crate) routes: Vec<(String, Route)>,
    /// Authenticated requests per minute and route. Default 30.
    pub(crate) rate_limit: u32,
    /// Largest body. Default 1 MiB.
    pub(crate) max_body_bytes: u64,
    /// Time a route's script has. Default 30 s.
    pub(crate) script_timeout: Duration,
    /// Set when the platform must not start.
    pub(crate) fault: Option<Fault>,
}

/// One webhook route; also the form of an entry in `webhook_subscriptions.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Route {
    /// Its own secret, else the platform's. `INSECURE_NO_AUTH` turns authentication off, on loopback only. An empty one is none, and
    /// never stands for the platform's.
    pub(crate) secret: Option<Secret>,
    /// The vendor whose signatures it takes, and no others: a name of [`Scheme`]. Without it the headers tell.
    pub(crate) signature: Option<String>,
    /// Only an explicit `false` disables.
    pub(crate) enabled: bool,
    /// Event types let through; empty = all.
    pub(crate) events: Vec<String>,
    /// Filter objects, all of which must match. Evaluated by the platform.
    pub(crate) filters: Vec<serde_json::Value>,
    /// Path under `scripts/`.
    pub(crate) script: Option<String>,
    /// Template; empty = dump the payload.
    pub(crate) prompt: String,
    /// Skills to load with the prompt.
    pub(crate) skills: Vec<String>,
    /// `log`, `github_comment` or a platform. Default `log`.
    pub(crate) deliver: String,
    /// Parameters of the delivery; values are templates.
    pub(crate) deliver_extra: BTreeMap<String, String>,
    /// Deliver the rendered prompt itself, without a turn.
    pub(crate) deliver_only: bool,
    /// The profile it belongs to, where it stands in the default profile's file.
    pub(crate) profile: Option<String>,
    /// For people.
    pub(crate) description: String,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            secret: None,
            signature: None,
            enabled: true,
            events: Vec::new(),
            filters: Vec::new(),
            script: None,
            prompt: String::new(),
            skills: Vec::new(),
            deliver: "log".to_owned(),
            deliver_extra: BTreeMap::new(),
            deliver_only: false,
            profile: None,
            description: String::new(),
        }
    }
}

/// A vendor's way to sign its webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Stripe
    Stripe,
    /// Slack
    Slack,
    /// Shopify
    Shopify,
    /// Linear
    Linear,
    /// Sentry
    Sentry,
}

impl Scheme {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Stripe, Self::Slack, Self::Shopify, Self::Linear, Self::Sentry];
    /// Their names, in the same order.
    pub(crate) const NAMES: [&str; 5] = ["stripe", "slack", "shopify", "linear", "sentry"];

    /// The scheme of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().zip(Self::ALL).find(|(known, _)| **known == name).map(|(_, scheme)| scheme)
    }
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn reaches(&self) -> bool {
        !self.routes.is_empty()
    }

    fn secrets(&self) -> Vec<&Secret> {
        let routes = self.routes.iter().filter_map(|(_, route)| route.secret.as_ref());
        self.secret.iter().chain(routes).collect()
    }
}

impl Route {
    /// Why a listener on `host` (`None` = all interfaces) must not serve this route; the exact text scripts know.
    pub(crate) fn refusal(&self, name: &str, host: Option<&str>) -> Option<String> {
        let Some(secret) = self.secret.as_ref().filter(|secret| !secret.expose().trim().is_empty()) else {
            // Whoever wrote an empty secret did not mean the one that other routes have.
            let own = if self.secret.is_some() { " Its own 'secret' is empty." } else { "" };
            return Some(format!(
                "[webhook] Route '{name}' has no HMAC secret. Set 'secret' on the route or globally. For testing without \
                 auth, set secret to 'INSECURE_NO_AUTH'.{own}"
            ));
        };
        if let Some(asked) = self.signature.as_ref().filter(|asked| Scheme::named(asked).is_none()) {
            let known = Scheme::NAMES.join(", ");
            return Some(format!(
                "[webhook] Route '{name}' asks for signature '{asked}', which is none of {known}."
            ));
        }
        // What a placeholder says is known to whoever knows the file: an imported profile's route waits for its own secret.
        if redact::is_unresolved(secret.expose()) {
            return Some(format!(
                "[webhook] Route '{name}' has a secret that names a variable which is not in this profile's .env. Set the \
                 variable, or the secret."
            ));
        }
        if secret.expose() == NO_AUTH && !host.is_some_and(is_loopback) {
            let host = host.unwrap_or("0.0.0.0");
            return Some(format!(
                "[webhook] Route '{name}' uses INSECURE_NO_AUTH secret but is bound to non-loopback host '{host}'. \
                 INSECURE_NO_AUTH is for local testing only. Refusing to start to prevent accidental exposure."
            ));
        }
        if self.deliver_only && self.deliver == "log" {
            let deliver = &self.deliver;
            return Some(format!(
                "[webhook] Route '{name}' has deliver_only=true but deliver is '{deliver}'. Direct delivery requires a real \
                 target (telegram, discord, slack, github_comment, etc.)."
            ));
        }
        None
    }
}

/// Whose routes are wanted.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// A profile's own, from its own file.
    Own,
    /// Those that the default profile's file gives to it.
    Given,
}

/// Reads the section.
fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let host = section.listener().and_then(|address| address.host.clone());
    let secret = section.secret("secret", "WEBHOOK_SECRET");
    let mut fault = None;
    let routes = routes(section, Whose::Own, secret.as_ref(), &mut |name, route, at| {
        // Every route that must not be served is noted; the first one is why the platform does not start.
        let Some(message) = route.refusal(name, host.as_deref()) else { return };
        let code = "webhook_route";
        fault.get_or_insert_with(|| Fault { code: code.to_owned(), message: message.clone() });
        at.fault(code, Spot::Here, message, &format!("Change route `{}`.", shorten(name)));
    });
    let rate_limit = section.number("rate_limit", "", 1..=u64::from(u32::MAX));
    let body = section.number("max_body_bytes", "", 1..=1 << 40);
    let script = section.count("script_timeout_seconds", 86_400);
    Arc::new(Settings {
        secret,
        routes,
        rate_limit: rate_limit.map_or(30, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        max_body_bytes: body.unwrap_or(DEFAULT_MAX_BODY),
        script_timeout: Duration::from_secs(script.map_or(30, |seconds| seconds.max(1))),
        fault,
    })
}

/// The routes in the default profile's section that carry `profile: <the section's profile>`, secrets resolved. Whether a listener may
/// serve one is [`Route::refusal`], which needs the listener's host.
pub(crate) fn given(section: &mut dyn Section) -> Vec<(String, Route)> {
    let secret = section.secret("secret", "WEBHOOK_SECRET");
    routes(section, Whose::Given, secret.as_ref(), &mut |_, _, _| {})
}

/// Routes with their secrets resolved, in file order; each is shown with its place.
fn routes(
    section: &mut dyn Section,
    whose: Whose,
    global: Option<&Secret>,
    seen: &mut dyn FnMut(&str, &Route, &mut dyn Section),
) -> Vec<(String, Route)> {
    let mut all = Vec::new();
    section.each("routes", &mut |name, at| {
        let Ok(owner) = owner(at, whose) else { return };
        if !at.is_mapping() {
            return;
        }
        let mut route = route(at);
        route.secret = route.secret.or_else(|| global.cloned());
        route.profile = owner;
        seen(name, &route, at);
        all.push((name.to_owned(), route));
    });
    all
}

/// The route's `profile`, or an error where the route is not wanted.
fn owner(at: &mut dyn Section, whose: Whose) -> Result<Option<String>, ()> {
    const KEY: &str = "profile";
    let Some(text) = at.text(KEY, "") else {
        return if matches!(whose, Whose::Own) { Ok(None) } else { Err(()) };
    };
    let path = at.path(KEY);
    match (whose, ProfileName::from_user_input(&text).ok()) {
        (_, Some(named)) if named == *at.profile() => Ok(Some(named.into())),
        (Whose::Own, None) => {
            let message = format!("`{path}` is not a profile name: the route belongs to nobody");
            at.warn("route_profile", Spot::Key(KEY), message, "Write the name of a profile.");
            Err(())
        }
        (Whose::Own, Some(named)) if !at.profile().is_default() => {
            let message =
                format!("`{path}` gives the route to `{named}`, which only the default profile can do");
            let fix = "Move the route to that profile's config.yaml.";
            at.warn("route_profile", Spot::Key(KEY), message, fix);
            Err(())
        }
        _ => Err(()),
    }
}

fn route(at: &mut dyn Section) -> Route {
    let defaults = Route::default();
    let filters = match at.json("filters") {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(list) => list,
        one => vec![one],
    };
    let deliver_extra = at.texts("deliver_extra");
    for key in ["toolsets", "coalesce"] {
        if at.is_set(key) {
            let message = format!("`{}` is not supported by this version and is ignored", at.path(key));
            at.warn("unsupported_key", Spot::Key(key), message, "Remove it, or keep it for 0.19.0.");
        }
    }
    // Running an ordinary turn instead of the job would be worse than refusing.
    let job = "cron_job";
    let fires_job = at.is_set(job);
    if fires_job {
        let message = format!(
            "`{}` fires a scheduled job, which this version cannot: the route is disabled",
            at.path(job)
        );
        let fix = "Remove the route, or keep it for 0.19.0.";
        at.warn("unsupported_key", Spot::Key(job), message, fix);
    }
    // An empty secret is not one that is left out.
    let secret = at.secret("secret", "");
    let secret = secret.or_else(|| at.is_set("secret").then(|| Secret::new("")));
    Route {
        secret,
        signature: at.choice("signature", &Scheme::NAMES).map(str::to_owned),
        enabled: at.flag("enabled").unwrap_or(true) && !fires_job,
        events: at.list("events", ""),
        filters,
        script: at.text("script", ""),
        prompt: at.verbatim("prompt").unwrap_or_default(),
        skills: at.list("skills", ""),
        deliver: at.text("deliver", "").unwrap_or(defaults.deliver),
        deliver_extra,
        deliver_only: at.flag("deliver_only").unwrap_or(false),
        profile: None,
        description: at.text("description", "").unwrap_or_default(),
    }
}
