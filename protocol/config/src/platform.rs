//! What a platform declares about itself, and the registry of all of them.
//!
//! A platform's folder (in the worker) holds one [`Declaration`]: its name, what turns it on, how its settings are read and documented, which
//! identities only one profile may hold, whether it opens a port. The worker puts them into its [`Registry`], and everything that asks
//! about platforms gets that registry: catalogue, schema, documentation, claims, what is unsupported, delivery targets. Nothing here
//! knows an adapter.

pub mod guide;
mod known;
mod section;
mod settings;

use std::sync::Arc;

use super::row::{Group, Key};

pub use section::{Section, Spot, Token, switch};
pub use settings::{AllSettings, Fault, ListenAddress, ModelRoute, Same, Settings};

/// How a platform's section is read.
pub type Read = fn(&mut dyn Section) -> Arc<dyn Settings>;

/// One platform.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a table of what is so and what is not, one row a platform"
)]
pub struct Declaration {
    /// Name in configuration, status and logs.
    pub name: &'static str,
    /// Start of its variables: `TELEGRAM` for `TELEGRAM_ALLOW_ALL_USERS`; empty = none.
    pub prefix: &'static str,
    /// Other starts of its variables.
    pub prefixes: &'static [&'static str],
    /// Variables of it that tools and skills use as well, whether or not the platform runs.
    pub tools: &'static [&'static str],
    /// A variable that turns it on or off.
    pub switch: Option<&'static str>,
    /// Sets of settings, one of which being complete turns it on.
    pub credentials: &'static [&'static [Field]],
    /// Whether it opens a port.
    pub binds: Binds,
    /// The port that the gateway opens for it; none: it opens its own, if any.
    pub listener: Option<Listener>,
    /// Paths, without prefix, where its service calls if the files say so. They are served where webhooks are, whose port the gateway opens;
    /// its section [sees](Section::listener) whether there is one.
    pub called: &'static [&'static str],
    /// Whether an open policy needs an explicit opt-in.
    pub policy: bool,
    /// Exclusive identities.
    pub claims: &'static [ClaimSpec],
    /// A file of the home that holds more of its tokens.
    pub tokens: Option<Tokens>,
    /// This build has an adapter for it.
    pub adapter: bool,
    /// Only one process may hold its connection: it is handed over in a swap.
    pub exclusive: bool,
    /// Its service keeps nothing for who comes later: in a swap the new process is connected before the old one closes.
    pub overlaps: bool,
    /// Answers can be delivered to it.
    pub target: bool,
    /// It is in no documentation, completion or schema: it is turned on by its own section only.
    pub hidden: bool,
    /// Its keys, as documented; none: it has no more than all platforms have.
    pub keys: Option<&'static Group>,
    /// Keys of 0.19.0 in its section that nothing here reads yet.
    pub kept: &'static [Key],
    /// Mappings of its section that are read, and whose entries this version does not act on; each is said.
    pub idle: &'static [&'static str],
    /// Reads its settings where it is on; none: it has none.
    pub read: Option<Read>,
}

/// What a declaration need not say.
pub const BASE: Declaration = Declaration {
    name: "",
    prefix: "",
    prefixes: &[],
    tools: &[],
    switch: None,
    credentials: &[],
    binds: Binds::No,
    listener: None,
    called: &[],
    policy: false,
    claims: &[],
    tokens: None,
    adapter: false,
    exclusive: false,
    overlaps: false,
    target: false,
    hidden: false,
    keys: None,
    kept: &[],
    idle: &[],
    read: None,
};

/// All platforms: those with a folder, and those that are only known.
#[derive(Debug)]
pub struct Registry {
    own: &'static [&'static Declaration],
}

impl Registry {
    /// These, and the known ones of 0.19.0 behind them.
    pub const fn new(own: &'static [&'static Declaration]) -> Self {
        Self { own }
    }

    /// Those with a folder.
    pub fn own(&self) -> impl Iterator<Item = &'static Declaration> + use<> {
        self.own.iter().copied()
    }

    /// Every platform, each once.
    pub fn all(&self) -> impl Iterator<Item = &'static Declaration> + use<> {
        let own = self.own;
        let known = known::KNOWN.iter().filter(move |known| own.iter().all(|own| own.name != known.name));
        own.iter().copied().chain(known)
    }

    /// The files of tokens that a home may hold beside its two files.
    pub fn token_files(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.own().filter_map(|platform| platform.tokens).map(|tokens| tokens.name)
    }

    /// Every platform that people are told of.
    pub fn shown(&self) -> impl Iterator<Item = &'static Declaration> + use<> {
        self.all().filter(|platform| !platform.hidden)
    }

    /// The platform of this name.
    pub fn find(&self, name: &str) -> Option<&'static Declaration> {
        self.all().find(|platform| platform.name == name)
    }

    /// The variables that a platform reads by name, with their platforms.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &'static Declaration)> + use<> {
        self.all().flat_map(|platform| platform.variables().map(move |name| (name, platform)))
    }
}

impl Declaration {
    fn variables(&'static self) -> impl Iterator<Item = &'static str> {
        let credentials = self.credentials.iter().flat_map(|set| set.iter().map(|field| field.env));
        let claims = self.claims.iter().flat_map(|claim| claim.parts.iter().map(|part| part.field.env));
        credentials.chain(claims).chain(self.switch).filter(|name| !name.is_empty())
    }
}

/// A port that the gateway opens for a platform. The default profile's files decide it; another profile is served through it, below
/// its prefix, and may neither set it nor turn it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Where the host is set: `*` is all interfaces.
    pub host: Field,
    /// What holds where it is not; none: all interfaces.
    pub default_host: Option<&'static str>,
    /// Where the port is set.
    pub port: Field,
    /// What holds where it is not.
    pub default_port: u16,
    /// Its paths, without prefix; one that ends with `/` stands for everything below it.
    pub paths: &'static [&'static str],
    /// It is the agent's own API: web pages may call it.
    pub is_api: bool,
    /// A variable that turns the platform on in the profile that opens the port, and in no other; empty = none.
    pub opened_by: &'static str,
}

/// A file of the home that holds more of a platform's tokens ([`super::tokens`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Its name.
    pub name: &'static str,
    /// What kind of identity each of them is.
    pub scope: &'static str,
}

/// Whether a platform opens a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binds {
    /// It dials out.
    No,
    /// It listens.
    Port,
    /// It listens when this setting has this value.
    When(Field, &'static str),
}

/// A setting: its variable, and its key in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Variable; empty = none.
    pub env: &'static str,
    /// Key; empty = none.
    pub key: &'static str,
}

/// An identity that two profiles must not share.
#[derive(Debug)]
pub struct ClaimSpec {
    /// What kind of identity it is.
    pub scope: &'static str,
    /// Joined by `|` (0.19.0's `:` for IRC); all must be present.
    pub parts: &'static [Part],
    /// How they become one text.
    pub form: Form,
}

/// How an identity's parts become one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Joined by `|`.
    Joined,
    /// Joined by `:`.
    Colon,
    /// A list with commas, each item a claim.
    Each,
    /// A path under the home.
    Path,
    /// `port:<n>`, where it is set and not 0.
    Port,
}

/// One part of an identity.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Where it is set.
    pub field: Field,
    /// Where it is not set.
    pub default: Option<&'static str>,
    /// Whether letter case and a final slash are ignored.
    pub fold: bool,
}

/// A setting: its variable and its key.
#[must_use]
pub const fn field(env: &'static str, key: &'static str) -> Field {
    Field { env, key }
}

/// A part as it is written.
#[must_use]
pub const fn part(env: &'static str, key: &'static str) -> Part {
    Part { field: field(env, key), default: None, fold: false }
}

/// A part whose letter case and final slash say nothing.
#[must_use]
pub const fn folded(env: &'static str, key: &'static str) -> Part {
    Part { field: field(env, key), default: None, fold: true }
}

/// A part with what holds where it is not set.
#[must_use]
pub const fn or(part: Part, default: &'static str) -> Part {
    Part { default: Some(default), ..part }
}

/// An identity of these parts.
#[must_use]
pub const fn claim(scope: &'static str, parts: &'static [Part]) -> ClaimSpec {
    ClaimSpec { scope, parts, form: Form::Joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_binding_platforms_are_the_nine_of_the_contract() {
        let mut binding: Vec<_> =
            crate::REGISTRY.all().filter(|s| s.binds != Binds::No).map(|s| s.name).collect();
        binding.sort_unstable();
        assert_eq!(
            binding,
            [
                "api_server",
                "bluebubbles",
                "feishu",
                "line",
                "msgraph_webhook",
                "sms",
                "webhook",
                "wecom_callback",
                "whatsapp_cloud",
            ]
        );
        let mut policy: Vec<_> = crate::REGISTRY.all().filter(|s| s.policy).map(|s| s.name).collect();
        policy.sort_unstable();
        assert_eq!(policy, ["qqbot", "wecom", "weixin", "whatsapp", "yuanbao"]);
    }

    #[test]
    fn every_platform_is_there_once_and_a_folder_takes_the_place_of_what_is_known() {
        static TELEGRAM: Declaration = Declaration { name: "telegram", adapter: true, hidden: true, ..BASE };
        static WITH: Registry = Registry::new(&[&TELEGRAM]);
        let names: Vec<_> = WITH.all().map(|platform| platform.name).collect();
        assert_eq!(names.iter().filter(|name| **name == "telegram").count(), 1);
        assert!(WITH.find("telegram").unwrap().adapter && WITH.find("discord").is_some_and(|d| !d.adapter));
        assert!(WITH.shown().all(|platform| platform.name != "telegram"));
    }
}
