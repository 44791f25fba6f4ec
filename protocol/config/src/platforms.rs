//! Which platforms a profile's files turn on, which identities they hold, and what the contract between profiles forbids.

pub(super) mod access;
pub(super) mod chats;
mod section;

use super::platform::{
    AllSettings, Binds, ClaimSpec, Declaration, Field, Form, ListenAddress, Listener, Token,
};
use super::problem::Place;
use super::reader::{At, Reader};
use super::scalar::{boolean, split_commas};
use super::secret::Secret;
use super::tokens::{self, TokenFiles};
use super::types::{ConfiguredPlatform, HomeChannel, RawClaim};
use super::yaml::shorten;
use hermes_wire::latest::{BoundListener, Problem, Role, Severity};
use section::Own;

/// One platform's settings, wherever they stand.
#[derive(Debug)]
pub(super) struct Blocks {
    name: String,
    /// Strongest first.
    blocks: Vec<At>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) place: Place,
}

/// Whether a platform runs.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Something turns it on.
    On(Place),
    /// `enabled: false` (or its switch) turns it off.
    Off,
    /// Nothing says.
    Unset,
}

/// Where a platform's block may stand, strongest first.
fn places(root: &At, name: &str) -> [At; 4] {
    [
        root.key("platforms").key(name),
        root.key("gateway.platforms").key(name),
        root.key("gateway").key(name),
        root.key(name),
    ]
}

impl Blocks {
    /// `platforms.<name>`, then `gateway.platforms.<name>`, `gateway.<name>`, `<name>`, the older file.
    pub(super) fn new(root: &At, name: &str) -> Self {
        let blocks = places(root, name);
        let oldest = root.legacy().key("platforms").key(name);
        let blocks = blocks.into_iter().chain([oldest]).filter(At::is_map).collect();
        Self { name: name.to_owned(), blocks }
    }

    /// The strongest block; where there is none, the place for one.
    fn first(&self) -> At {
        let nowhere = || At::root(None).key("platforms").key(&self.name);
        self.blocks.first().cloned().unwrap_or_else(nowhere)
    }

    /// `extra.<key>`, then `<key>`, of the strongest block that has it.
    pub(super) fn get(&self, key: &str) -> At {
        let found = self
            .blocks
            .iter()
            .flat_map(|block| [block.key("extra").key(key), block.key(key)])
            .find(At::is_set);
        found.unwrap_or_else(|| At::root(None).key("platforms").key(&self.name).key("extra").key(key))
    }
}

impl Reader<'_> {
    /// A setting: `.env` first, then YAML.
    fn setting(&mut self, blocks: &Blocks, field: Field) -> Option<Found> {
        if !field.env.is_empty()
            && let Some(value) = self.env(field.env)
        {
            return Some(Found { value: value.to_owned(), place: self.env_place(field.env) });
        }
        if field.key.is_empty() {
            return None;
        }
        let at = blocks.get(field.key);
        let value = self.text(&at)?;
        Some(Found { value, place: self.place(&at) })
    }

    /// Whether the platform runs. `enabled: false` always wins; else its switch, else `enabled: true`, else credentials.
    pub(super) fn state(&mut self, blocks: &Blocks, spec: &Declaration) -> State {
        let at = blocks.get("enabled");
        let enabled = self.flag(&at);
        if enabled == Some(false) {
            return State::Off;
        }
        if let Some(name) = spec.switch
            && let Some(on) = self.env_flag(name)
        {
            return if on { State::On(self.env_place(name)) } else { State::Off };
        }
        if enabled == Some(true) {
            return State::On(self.place(&at));
        }
        for set in spec.credentials {
            let found: Vec<_> = set.iter().filter_map(|field| self.setting(blocks, *field)).collect();
            // What opens a port is not turned on by a YAML leftover.
            let variable = |file: &str| file == self.env_file || self.pins.is_env_file(file);
            let counts = |found: &Found| spec.binds == Binds::No || variable(&found.place.file);
            if found.len() == set.len() && found.iter().all(counts) {
                return found.into_iter().next_back().map_or(State::Unset, |last| State::On(last.place));
            }
        }
        State::Unset
    }
}

/// Everything about platforms that does not need an adapter.
pub(super) fn survey(
    reader: &mut Reader<'_>,
    root: &At,
    role: Role,
    files: &TokenFiles<&[u8]>,
) -> (Vec<ConfiguredPlatform>, Vec<RawClaim>) {
    let (mut platforms, mut claims) = (Vec::new(), Vec::new());
    for spec in reader.registry.all() {
        let blocks = Blocks::new(root, spec.name);
        for at in places(root, spec.name) {
            if at.is_set() && !at.is_map() {
                let message =
                    format!("`{}` is not a mapping, so it says nothing about the platform", at.path);
                reader.warn(
                    "platform_block",
                    reader.place(&at),
                    message,
                    "Write a mapping, or remove the key.",
                );
            }
        }
        let mut state = reader.state(&blocks, spec);
        if let Some(listener) = spec.listener
            && role == Role::Primary
            && matches!(state, State::Unset)
            && reader.env(listener.opened_by).is_some()
        {
            state = State::On(reader.env_place(listener.opened_by));
        }
        if role == Role::Secondary {
            forbid_port(reader, &blocks, spec, &state);
        }
        let notices = reader.flag(&blocks.get("gateway_restart_notification")).unwrap_or(true);
        let State::On(place) = state else { continue };
        if spec.policy {
            forbid_open_policy(reader, root, &blocks, spec);
        }
        // On a secondary, those that the gateway listens for are a breach, already noted; they run by the gateway's listener, not by this.
        let supported = spec.adapter;
        let home = if spec.target { home_channel(reader, &blocks, spec) } else { None };
        let name = spec.name.to_owned();
        platforms.push(ConfiguredPlatform { name, supported, source: place.source(), home, notices });
        for claim in spec.claims {
            claims.extend(identities(reader, &blocks, spec, claim));
        }
        claims.extend(more_tokens(reader, spec, files));
    }
    let all = [root.key("platforms"), root.key("gateway.platforms"), root.legacy().key("platforms")];
    for (name, at) in all.iter().flat_map(At::entries) {
        let on = reader.registry.find(&name).is_none()
            && reader.expect_map(&at)
            && reader.flag(&at.key("enabled")) == Some(true);
        if on && platforms.iter().all(|p| p.name != name) {
            let source = reader.place(&at).source();
            platforms.push(ConfiguredPlatform { name, supported: false, source, home: None, notices: true });
        }
    }
    claims.sort();
    claims.dedup_by(|a, b| (&a.scope, &a.identity) == (&b.scope, &b.identity));
    (platforms, claims)
}

/// The variable of a platform's home channel; two have older words for it.
pub(super) fn home_variable(spec: &Declaration) -> String {
    let what = match spec.name {
        "matrix" => "HOME_ROOM",
        "email" => "HOME_ADDRESS",
        _ => "HOME_CHANNEL",
    };
    format!("{}_{what}", spec.prefix)
}

/// `home_channel`, or the variables `…_HOME_CHANNEL`, `…_HOME_CHANNEL_NAME` and `…_HOME_CHANNEL_THREAD_ID`, which win.
fn home_channel(reader: &mut Reader<'_>, blocks: &Blocks, spec: &Declaration) -> Option<HomeChannel> {
    let at = blocks.get("home_channel");
    reader.expect_map(&at);
    let mut field = |key: &str, variable: &str| {
        let named = reader.env(&format!("{}{variable}", home_variable(spec))).map(str::to_owned);
        named.or_else(|| reader.text(&at.key(key))).filter(|text| !text.is_empty())
    };
    let chat_id = field("chat_id", "")?;
    Some(HomeChannel { chat_id, name: field("name", "_NAME"), thread_id: field("thread_id", "_THREAD_ID") })
}

/// What `gateway.listen` says: host (`None` = all interfaces) and port.
pub(super) type Listen = Option<(Option<String>, u16)>;

/// Who decides where platforms are reached that the gateway listens for.
#[derive(Debug)]
pub(super) enum Listening<'l> {
    /// This profile, with one address for all of them where it says so.
    Own(Listen),
    /// Another one: these are its listeners, as bound.
    Shared(&'l [BoundListener]),
}

impl Listening<'_> {
    /// Where services call that have no listener of their own: where webhooks are, if they are anywhere.
    fn lends(&self, on: &[ConfiguredPlatform]) -> Option<ListenAddress> {
        match self {
            Self::Own(_) => {
                let is_there = on.iter().any(|platform| platform.name == HOST);
                is_there.then_some(ListenAddress { host: None, port: 0, shared: false })
            }
            Self::Shared(all) => {
                let bound = serving(all, HOST)?;
                Some(ListenAddress { host: bound.host.clone(), port: port_of(&bound.address), shared: true })
            }
        }
    }

    fn address(
        &self,
        reader: &mut Reader<'_>,
        blocks: &Blocks,
        name: &str,
        spec: Listener,
    ) -> Option<ListenAddress> {
        Some(match self {
            Self::Own(Some((host, port))) => ListenAddress { host: host.clone(), port: *port, shared: false },
            Self::Own(None) => {
                let host = host(reader, blocks, spec);
                ListenAddress { host, port: port(reader, blocks, spec), shared: false }
            }
            Self::Shared(all) => {
                let bound = serving(all, name)?;
                ListenAddress { host: bound.host.clone(), port: port_of(&bound.address), shared: true }
            }
        })
    }
}

/// The platform whose listener takes the calls of all other ones' services too.
const HOST: &str = "webhook";

/// The listener that serves a platform.
pub(super) fn serving<'l>(all: &'l [BoundListener], name: &str) -> Option<&'l BoundListener> {
    all.iter().find(|listener| listener.platforms.iter().any(|platform| platform == name))
}

/// A host: variable, then key, then default.
fn host(reader: &mut Reader<'_>, blocks: &Blocks, spec: Listener) -> Option<String> {
    let named = reader.env(spec.host.env).map(str::to_owned);
    let named = named.or_else(|| reader.text(&blocks.get(spec.host.key)));
    named.or_else(|| spec.default_host.map(str::to_owned)).filter(|host| host != "*")
}

/// A port, likewise.
fn port(reader: &mut Reader<'_>, blocks: &Blocks, spec: Listener) -> u16 {
    let range = 0..=u64::from(u16::MAX);
    let port = match reader.env(spec.port.env) {
        Some(_) => reader.env_number(spec.port.env, range),
        None => reader.number(&blocks.get(spec.port.key), range),
    };
    port.and_then(|n| u16::try_from(n).ok()).unwrap_or(spec.default_port)
}

/// The port of `127.0.0.1:8644`.
fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

/// What the sections of platforms that are on say, as their folders read them.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    root: &At,
    on: &[ConfiguredPlatform],
    listening: &Listening<'_>,
) -> AllSettings {
    let mut all = AllSettings::default();
    for platform in reader.registry.own().filter(|own| on.iter().any(|on| on.name == own.name)) {
        let blocks = Blocks::new(root, platform.name);
        let address = match platform.listener {
            Some(spec) => listening.address(reader, &blocks, platform.name, spec),
            None => listening.lends(on).filter(|_| !platform.called.is_empty()),
        };
        if let Some(address) = address.as_ref().filter(|_| platform.listener.is_some()) {
            all.listen(platform.name, address.clone());
        }
        if let Some(read) = platform.read {
            all.set(platform.name, read(&mut Own::new(reader, blocks, platform.name, address.as_ref())));
        }
    }
    all
}

/// What `read` finds in the section of a platform, on or not.
pub(super) fn section<T>(
    reader: &mut Reader<'_>,
    root: &At,
    platform: &'static Declaration,
    read: impl FnOnce(&mut dyn super::platform::Section) -> T,
) -> T {
    let blocks = Blocks::new(root, platform.name);
    read(&mut Own::new(reader, blocks, platform.name, None))
}

fn forbid_port(reader: &mut Reader<'_>, blocks: &Blocks, spec: &Declaration, state: &State) {
    match spec.binds {
        Binds::No => return,
        Binds::Port => {}
        Binds::When(field, value) => {
            if reader.setting(blocks, field).is_none_or(|found| !found.value.eq_ignore_ascii_case(value)) {
                return;
            }
        }
    }
    let place = match state {
        State::On(place) => place.clone(),
        State::Off => return,
        State::Unset => {
            let Some(listener) = spec.listener else { return };
            let keys = [listener.host.key, listener.port.key].map(|key| blocks.get(key));
            let Some(at) = keys.into_iter().find(At::is_set) else { return };
            reader.place(&at)
        }
    };
    let (profile, platform) = (reader.profile, spec.name);
    let (what, file) = removal(&place, platform, &reader.env_file);
    let message = format!(
        "Profile '{profile}' enables the port-binding platform '{platform}', but gateway.multiplex_profiles is on. The \
         default profile owns the single shared HTTP listener and serves every profile through the /p/{profile}/ URL \
         prefix. Remove {what} from profile '{profile}'s {file} (configure it only on the default profile)."
    );
    let fix = Some(format!("Remove {what} from {}.", place.file));
    let Place { file, line, column, key } = place;
    let (code, platform) = ("port_binding".to_owned(), Some(platform.to_owned()));
    reader.problems.push(Problem {
        severity: Severity::Gateway,
        code,
        platform,
        file,
        line,
        column,
        key,
        message,
        fix,
    });
}

/// What to remove, and from which kind of file: `platforms.webhook`, `config.yaml`.
fn removal(place: &Place, platform: &str, env_file: &str) -> (String, &'static str) {
    let key = place.key.as_deref().unwrap_or(platform);
    if place.file == env_file {
        return (key.to_owned(), ".env");
    }
    let block = key.find(platform).map_or(key, |at| &key[..at + platform.len()]);
    (block.to_owned(), "config.yaml")
}

fn forbid_open_policy(reader: &mut Reader<'_>, root: &At, blocks: &Blocks, spec: &Declaration) {
    let allow_all = [format!("{}_ALLOW_ALL_USERS", spec.prefix), "GATEWAY_ALLOW_ALL_USERS".to_owned()];
    if allow_all.iter().any(|name| reader.env(name).and_then(boolean) == Some(true)) {
        return;
    }
    // The variable beats the key, also where it says no.
    let by_key =
        reader.env(&allow_all[1]).is_none().then(|| reader.flag(&root.key("gateway.allow_all_users")));
    if by_key.flatten() == Some(true) {
        return;
    }
    for key in ["dm_policy", "group_policy"] {
        let variable = format!("{}_{}", spec.prefix, key.to_ascii_uppercase());
        let at = blocks.get(key);
        let place =
            if reader.env(&variable).is_some() { reader.env_place(&variable) } else { reader.place(&at) };
        let value = reader.env(&variable).map(str::to_owned).or_else(|| reader.text(&at));
        if value.is_none_or(|value| !value.trim().eq_ignore_ascii_case("open")) {
            continue;
        }
        let (profile, platform) = (reader.profile, spec.name);
        let message = format!(
            "Profile '{profile}' enables {platform}: open policy without allow-all opt-in. Enable GATEWAY_ALLOW_ALL_USERS \
             or the platform allow-all flag for that profile, or change dm_policy/group_policy away from 'open'."
        );
        let fix = Some(format!("Change {key} away from `open`, or set {} in .env.", allow_all[0]));
        let Place { file, line, column, key } = place;
        let (code, platform) = ("open_policy".to_owned(), Some(platform.to_owned()));
        let severity = Severity::Gateway;
        reader.problems.push(Problem { severity, code, platform, file, line, column, key, message, fix });
        return;
    }
}

/// Reads a platform's file of tokens; each is an identity.
fn more_tokens(
    reader: &mut Reader<'_>,
    spec: &'static Declaration,
    files: &TokenFiles<&[u8]>,
) -> Vec<RawClaim> {
    let Some(file) = spec.tokens else { return Vec::new() };
    let tokens = tokens::read(reader, spec, files);
    let path = reader.home.path().join(file.name);
    let claim = |Token { place, token }: &Token| RawClaim {
        platform: spec.name.to_owned(),
        scope: file.scope.to_owned(),
        identity: token.clone(),
        source: format!("{} in {path}", shorten(place)),
    };
    let claims = tokens.iter().map(claim).collect();
    reader.tokens.insert(spec.name, tokens);
    claims
}

fn identities(
    reader: &mut Reader<'_>,
    blocks: &Blocks,
    spec: &Declaration,
    claim: &ClaimSpec,
) -> Vec<RawClaim> {
    let mut parts = Vec::new();
    let mut source = None;
    for part in claim.parts {
        let found = reader.setting(blocks, part.field);
        if let Some(found) = &found {
            source = Some(found.place.source());
        }
        let Some(mut value) = found.map(|f| f.value).or_else(|| part.default.map(str::to_owned)) else {
            return Vec::new();
        };
        if part.fold {
            value = value.trim_end_matches('/').to_lowercase();
        }
        parts.push(value);
    }
    let texts = match claim.form {
        Form::Joined => vec![parts.join("|")],
        Form::Colon => vec![parts.join(":")],
        Form::Each => split_commas(&parts.concat()),
        Form::Path => vec![reader.home.path().join(parts.concat()).into_string()],
        Form::Port => match parts.concat().parse::<u16>() {
            Ok(port) if port != 0 => vec![format!("port:{port}")],
            _ => Vec::new(),
        },
    };
    let source = source.unwrap_or_else(|| format!("platforms.{} in {}", spec.name, reader.yaml_file));
    let claim = |text: String| RawClaim {
        platform: spec.name.to_owned(),
        scope: claim.scope.to_owned(),
        identity: Secret::new(text),
        source: source.clone(),
    };
    texts.into_iter().map(claim).collect()
}
