//! What configuration becomes: plain data, defaults applied, nothing left to interpret.

use std::collections::BTreeMap;
use std::time::Duration;

use super::platform::{AllSettings, Registry};
use super::profile_routes::ProfileRoutes;
use super::secret::{Env, Secret};
use hermes_wire::latest::{BoundListener, GatewaySettings, Problem, Role, Severity};
use hermes_wire::{ProfileHome, ProfileName};

/// Largest `config.yaml` or `.env` that is read, in bytes. A caller may stop reading one byte behind it.
pub const MAX_FILE_LEN: usize = 4 * 1024 * 1024;

/// One profile's files, as the caller found them.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The platforms there are.
    pub registry: &'static Registry,
    /// The profile.
    pub profile: &'a ProfileName,
    /// The part it plays.
    pub role: Role,
    /// The flag where the supervisor's environment overrides configuration (`Prepare.multiplex`).
    pub multiplex: Option<bool>,
    /// The gateway's listeners (`Prepare.listeners`); empty for the primary, whose settings decide them.
    pub listeners: &'a [BoundListener],
    /// Its home: decides the paths that problems name.
    pub home: &'a ProfileHome,
    /// Bytes of `config.yaml`; `None` = no such file.
    pub yaml: Option<&'a [u8]>,
    /// Bytes of `.env`; `None` = no such file.
    pub env: Option<&'a [u8]>,
}

/// What became of the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// `None` exactly when a problem of [`Severity::Profile`] was found. Present with [`Severity::Gateway`], so that claims
    /// are compared and every conflict is shown in one run; whether the profile is then served is the supervisor's decision.
    pub config: Option<ProfileConfig>,
    /// Everything wrong or odd, worst first.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// The worst severity found.
    pub fn worst(&self) -> Option<Severity> {
        self.problems.iter().map(|p| p.severity).max()
    }
}

/// A profile's settings, defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileConfig {
    /// The profile.
    pub name: ProfileName,
    /// `model.*`
    pub model: Model,
    /// `providers.*` and the older list `custom_providers`.
    pub providers: Vec<Provider>,
    /// `agent.*`
    pub agent: Agent,
    /// `max_concurrent_sessions`: turns that run at the same time; 0: no limit. Default 16.
    pub max_concurrent_sessions: u32,
    /// What the sections of platforms say that are on (or, for a secondary, that the gateway listens for), each in its platform's own
    /// type.
    pub settings: AllSettings,
    /// Every configured platform, adapter or not.
    pub platforms: Vec<ConfiguredPlatform>,
    /// Exclusive identities of every configured platform, adapter or not.
    pub claims: Vec<RawClaim>,
    /// The gateway's settings; of the primary only.
    pub gateway: Option<GatewaySettings>,
    /// `profile_routes`, where they are in force: of the default profile with multiplexing.
    pub profile_routes: ProfileRoutes,
    /// `gateway.max_inbound_media_bytes`: most bytes of what comes with one message; `None`: any. Default 128 MiB.
    pub max_inbound_media_bytes: Option<u64>,
    /// `display.busy_input_mode`: what a message does that comes while its conversation is being answered. Unset: it waits.
    pub busy_input_mode: Option<BusyMode>,
    /// `group_sessions_per_user`. Default true.
    pub group_sessions_per_user: bool,
    /// `thread_sessions_per_user`. Default false.
    pub thread_sessions_per_user: bool,
    /// `session_reset` with its overrides.
    pub session_reset: SessionReset,
    /// `logging.*`
    pub logging: Logging,
    /// `timezone`, an IANA name; empty = the system's.
    pub timezone: String,
    /// The profile's own `.env`.
    pub env: Env,
    /// What shapes the system prompt.
    pub prompt: PromptSettings,
}

impl ProfileConfig {
    /// All defaults: what empty files give.
    pub fn new(name: ProfileName) -> Self {
        Self {
            name,
            model: Model::default(),
            providers: Vec::new(),
            agent: Agent::default(),
            max_concurrent_sessions: 16,
            settings: AllSettings::default(),
            platforms: Vec::new(),
            claims: Vec::new(),
            gateway: None,
            profile_routes: ProfileRoutes::default(),
            max_inbound_media_bytes: Some(128 << 20),
            busy_input_mode: None,
            group_sessions_per_user: true,
            thread_sessions_per_user: false,
            session_reset: SessionReset::default(),
            logging: Logging::default(),
            timezone: String::new(),
            env: Env::default(),
            prompt: PromptSettings::default(),
        }
    }
}

/// `model.*`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// `model.default`: the id on the wire; empty = not configured.
    pub default: String,
    /// `model.provider`
    pub provider: Option<String>,
    /// `model.base_url`, without a final slash.
    pub base_url: Option<String>,
    /// `model.api_key`; may still hold `${NAME}` where `.env` has no such variable.
    pub api_key: Option<Secret>,
    /// `model.key_env` or `model.api_key_env`: name of the variable that holds the key.
    pub key_env: Option<String>,
    /// `model.api_mode`: `chat_completions`, `codex_responses`, `anthropic_messages`, `bedrock_converse`, `codex_app_server`.
    pub api_mode: Option<String>,
    /// `model.context_length`
    pub context_length: Option<u64>,
    /// `model.max_tokens`
    pub max_tokens: Option<u64>,
}

/// One `providers.<name>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provider {
    /// Key in the map, or `name` of the list item.
    pub name: String,
    /// `base_url`, `url` or `api`, without a final slash.
    pub base_url: Option<String>,
    /// `api_key`
    pub api_key: Option<Secret>,
    /// `key_env` or `api_key_env`: name of the variable that holds the key.
    pub key_env: Option<String>,
    /// `api_mode` or `transport`
    pub api_mode: Option<String>,
    /// `default_model` or `model`
    pub default_model: Option<String>,
    /// `extra_body`: merged into every request.
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// `extra_headers`
    pub extra_headers: BTreeMap<String, Secret>,
    /// `max_output_tokens`
    pub max_output_tokens: Option<u64>,
    /// `enabled`. Default true.
    pub enabled: bool,
}

/// `agent.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// `agent.engine`. Default `native`.
    pub engine: EngineKind,
    /// `agent.max_turns`: provider calls per user turn; `u32::MAX`: any. Default 90, as in 0.19.0.
    pub max_turns: u32,
    /// `agent.api_max_retries`: attempts in total, at least 1. Default 3.
    pub api_max_retries: u32,
    /// `agent.restart_drain_timeout`: time running turns have on stop, swap and shutdown. Zero interrupts at once.
    /// Default 20 s.
    pub restart_drain_timeout: Duration,
    /// `agent.gateway_timeout`: silence of a turn after which it is ended; zero = never. Default 1800 s.
    pub gateway_timeout: Duration,
    /// `agent.postpone_timeout`: how long a message whose provider is away, limited, unpaid or set up wrong is tried again; zero =
    /// it fails at once. Default one day.
    pub postpone_timeout: Duration,
    /// `agent.gateway_auto_continue_freshness`: how old an interrupted turn may be to be continued; zero = any age.
    /// Default 3600 s.
    pub auto_continue_freshness: Duration,
    /// `agent.local_stream_stale_timeout`: silence of a provider's stream after which it is dropped. Default 900 s.
    pub stream_stale_timeout: Duration,
    /// `agent.echo_delay_ms`: with the engine `echo`, a wait before each piece of an answer, to try out slow turns. Default 0.
    pub echo_delay: Duration,
    /// `agent.trial_tool`: a file of the home to which the model may append lines, by the tool `note`: to try out turns with tools.
    pub trial_tool: Option<String>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            engine: EngineKind::Native,
            max_turns: 90,
            api_max_retries: 3,
            restart_drain_timeout: Duration::from_secs(20),
            gateway_timeout: Duration::from_mins(30),
            postpone_timeout: Duration::from_hours(24),
            auto_continue_freshness: Duration::from_hours(1),
            stream_stale_timeout: Duration::from_mins(15),
            echo_delay: Duration::ZERO,
            trial_tool: None,
        }
    }
}

/// What a chat's message does to the turn that runs in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyMode {
    /// The turn ends without an answer, and the message's turn begins.
    Interrupt,
    /// It waits for its own turn.
    Queue,
    /// It is put into the turn behind the next results of tools; without any it waits.
    Steer,
}

/// Who writes answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// A model.
    #[default]
    Native,
    /// Nobody: what came in goes out again.
    Echo,
}

/// A platform that the files turn on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredPlatform {
    /// Its name.
    pub name: String,
    /// Whether this build has an adapter for it.
    pub supported: bool,
    /// File and key or variable that turn it on.
    pub source: String,
}

/// An exclusive identity before it is hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawClaim {
    /// Platform.
    pub platform: String,
    /// Kind of identity: `telegram-bot-token`, `whatsapp-session`, …
    pub scope: String,
    /// The identity. Never logged, never sent unhashed.
    pub identity: Secret,
    /// File and key or variable that hold it.
    pub source: String,
}

/// `session_reset`, `reset_by_platform`, `reset_by_type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionReset {
    /// What holds unless an override does.
    pub default: ResetPolicy,
    /// By platform; wins over everything.
    pub by_platform: BTreeMap<String, ResetPolicy>,
    /// By chat type: `dm`, `group`, `thread`.
    pub by_type: BTreeMap<String, ResetPolicy>,
}

impl SessionReset {
    /// The policy for one conversation.
    pub fn policy(&self, platform: &str, chat_type: &str) -> &ResetPolicy {
        self.by_platform.get(platform).or_else(|| self.by_type.get(chat_type)).unwrap_or(&self.default)
    }
}

/// When a session ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetPolicy {
    /// `mode`. Default none.
    pub mode: ResetMode,
    /// `at_hour`, local time. Default 4.
    pub at_hour: u8,
    /// `idle_minutes`. Default 1440.
    pub idle_minutes: u32,
    /// `notify`. Default true.
    pub notify: bool,
}

impl Default for ResetPolicy {
    fn default() -> Self {
        Self { mode: ResetMode::None, at_hour: 4, idle_minutes: 1440, notify: true }
    }
}

/// `session_reset.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetMode {
    /// Never.
    #[default]
    None,
    /// At the hour.
    Daily,
    /// After silence.
    Idle,
    /// Whichever comes first.
    Both,
}

/// `logging.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `logging.level`: `error`, `warn`, `info`, `debug`, `trace`. Default info.
    pub level: String,
    /// `logging.max_size_mb`. Default 5.
    pub max_size_mb: u32,
    /// `logging.backup_count`. Default 3.
    pub backup_count: u32,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "info".to_owned(), max_size_mb: 5, backup_count: 3 }
    }
}

/// What shapes the system prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSettings {
    /// `platform_hints.<platform>`: text appended to the platform's hint.
    pub append_hints: BTreeMap<String, String>,
    /// `platform_hints.<platform>.replace`: text that stands for it.
    pub replace_hints: BTreeMap<String, String>,
    /// `agent.environment_probe`. Default true.
    pub environment_probe: bool,
    /// `context_file_max_chars`
    pub context_file_max_chars: Option<u64>,
}

impl Default for PromptSettings {
    fn default() -> Self {
        Self {
            append_hints: BTreeMap::new(),
            replace_hints: BTreeMap::new(),
            environment_probe: true,
            context_file_max_chars: None,
        }
    }
}
