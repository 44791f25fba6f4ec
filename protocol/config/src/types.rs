//! What configuration becomes: plain data, defaults applied, nothing left to interpret.

mod chats;
mod engine;
mod outward;
mod reach;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::access::AllAccess;
use super::auxiliary::{Auxiliaries, Auxiliary, Compression};
use super::chats::AllChats;
use super::personality::Personalities;
use super::platform::{AllSettings, Registry};
use super::pool::Pools;
use super::profile_routes::ProfileRoutes;
use super::reset::SessionReset;
use super::secret::{Env, Secret};
use super::servers::ToolServers;
use hermes_wire::latest::{Autostart, BoundListener, GatewaySettings, Problem, Role, Severity, Upkeep};
use hermes_wire::{ProfileHome, ProfileName};

pub use chats::{BusyAcks, BusyMode, Stt};
pub use engine::{Acp, EngineKind};
pub use outward::{Leaving, Streaming};
pub use reach::{Delegation, HomeChannel, Skills, Toolsets};

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

/// What one file says; `None` where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnUpkeep {
    /// `gateway.autostart`
    pub autostart: Option<Autostart>,
    /// `gateway.idle_timeout`
    pub idle: Option<Duration>,
    /// `gateway.limits.memory`, in bytes.
    pub memory: Option<u64>,
    /// `gateway.limits.cpu`, in thousandths of a processor.
    pub cpu_permille: Option<u32>,
    /// `gateway.limits.tasks`
    pub tasks: Option<u32>,
}

impl OwnUpkeep {
    /// This, and what `all` says where this says nothing.
    pub fn over(&self, all: &Upkeep) -> Upkeep {
        let mut upkeep = *all;
        upkeep.autostart = self.autostart.unwrap_or(all.autostart);
        upkeep.idle_ms =
            self.idle.map_or(all.idle_ms, |idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        upkeep.limits.memory = self.memory.or(all.limits.memory);
        upkeep.limits.cpu_permille = self.cpu_permille.or(all.limits.cpu_permille);
        upkeep.limits.tasks = self.tasks.or(all.limits.tasks);
        upkeep
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
    /// `fallback_providers`, then the older `fallback_model`: who is asked where the model's provider fails, in order.
    pub fallbacks: Vec<Model>,
    /// Several keys of one provider, as `auth.json` has them.
    pub pools: Pools,
    /// `agent.*`
    pub agent: Agent,
    /// `auxiliary.*`: who does what is no answer in a conversation.
    pub auxiliary: Auxiliaries,
    /// `compression.*`: when a conversation is made shorter.
    pub compression: Compression,
    /// Which tools are offered.
    pub toolsets: Toolsets,
    /// `memory.*`
    pub memory: Memory,
    /// What its own tools may do.
    pub tools: ToolSettings,
    /// `mcp_servers.*`
    pub servers: ToolServers,
    /// `security.allow_private_urls`: tools may ask addresses of this machine and its networks. Default false.
    pub allow_private_urls: bool,
    /// `delegation.*`
    pub delegation: Delegation,
    /// `delegation.{model, provider, base_url, api_key, api_mode}`: whom sub-agents ask, where it is not their turn's model.
    pub children_ask: Auxiliary,
    /// `skills.*`
    pub skills: Skills,
    /// `max_concurrent_sessions`: turns that run at the same time; 0: no limit. Default 16.
    pub max_concurrent_sessions: u32,
    /// What the sections of platforms say that are on (or, for a secondary, that the gateway listens for), each in its platform's own
    /// type.
    pub settings: AllSettings,
    /// Who may talk to the profile's bots, and to it through another profile's.
    pub access: AllAccess,
    /// What their sections say of single chats.
    pub chats: AllChats,
    /// Every configured platform, adapter or not.
    pub platforms: Vec<ConfiguredPlatform>,
    /// Exclusive identities of every configured platform, adapter or not.
    pub claims: Vec<RawClaim>,
    /// The gateway's settings; of the primary only.
    pub gateway: Option<GatewaySettings>,
    /// `gateway.admin_token`; of the primary only.
    pub admin_token: Option<Secret>,
    /// When its worker runs, and what that may take of the machine.
    pub upkeep: OwnUpkeep,
    /// `profile_routes`, where they are in force: of the default profile with multiplexing.
    pub profile_routes: ProfileRoutes,
    /// `gateway.max_inbound_media_bytes`: most bytes of what comes with one message; `None`: any. Default 128 MiB.
    pub max_inbound_media_bytes: Option<u64>,
    /// `display.busy_input_mode`: what a message of a chat does that comes while its conversation is being answered. Default: it
    /// interrupts.
    pub busy_input_mode: BusyMode,
    /// What whoever writes then hears.
    pub busy_acks: BusyAcks,
    /// `stt.*`: what writes down what was said in voice notes; none: nothing does.
    pub stt: Option<Stt>,
    /// `streaming.*`: whether chats are shown answers while they are made.
    pub streaming: Streaming,
    /// Which files may leave in answers.
    pub leaving: Leaving,
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
            admin_token: None,
            model: Model::default(),
            fallbacks: Vec::new(),
            providers: Vec::new(),
            pools: Pools::default(),
            agent: Agent::default(),
            auxiliary: Auxiliaries::default(),
            compression: Compression::default(),
            toolsets: Toolsets::default(),
            memory: Memory::default(),
            tools: ToolSettings::default(),
            servers: ToolServers::default(),
            allow_private_urls: false,
            delegation: Delegation::default(),
            children_ask: Auxiliary::default(),
            skills: Skills::default(),
            max_concurrent_sessions: 16,
            settings: AllSettings::default(),
            access: AllAccess::new(),
            chats: AllChats::new(),
            platforms: Vec::new(),
            claims: Vec::new(),
            gateway: None,
            upkeep: OwnUpkeep::default(),
            profile_routes: ProfileRoutes::default(),
            max_inbound_media_bytes: Some(128 << 20),
            busy_input_mode: BusyMode::Interrupt,
            busy_acks: BusyAcks::default(),
            stt: None,
            streaming: Streaming::default(),
            leaving: Leaving::default(),
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
    /// `prompt_caching.cache_ttl` is `1h`: what is marked for the provider's cache stays there for an hour, else for five minutes.
    pub caches_an_hour: bool,
}

/// What the model keeps between sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its notes.
    pub notes: Notes,
    /// Its notes on the user.
    pub user: Notes,
    /// `memory.write_approval`: nothing is written unless somebody approves of it. Default false.
    pub write_approval: bool,
}

/// One file of [`Memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notes {
    /// `memory.memory_enabled`, `memory.user_profile_enabled`. Default true.
    pub enabled: bool,
    /// `memory.memory_char_limit`, `memory.user_char_limit`: most characters of all entries together. Default 2200 and 1375.
    pub limit: usize,
}

impl Default for Memory {
    fn default() -> Self {
        let notes = |limit| Notes { enabled: true, limit };
        Self { notes: notes(2200), user: notes(1375), write_approval: false }
    }
}

/// What a profile's own tools may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSettings {
    /// `terminal.cwd`, where it names a directory; see [`ToolSettings::workspace`].
    pub cwd: Option<Utf8PathBuf>,
    /// `terminal.timeout`. Default 180 s.
    pub timeout: Duration,
    /// `terminal.env_passthrough`: names of variables.
    pub env_passthrough: Vec<String>,
    /// `terminal.home_mode`. Default `auto`.
    pub home_mode: HomeMode,
    /// `terminal.fence`. Default `auto`.
    pub fence: FenceMode,
    /// `approvals.mode`. Default `smart`.
    pub approvals: ApprovalMode,
    /// `terminal.backend`, where it names another one than this machine.
    pub backend: Option<String>,
    /// `terminal.persistent_shell`: a command begins where the one before it ended. Default true.
    pub persistent_shell: bool,
    /// `approvals.timeout`: how long somebody is waited for. Default 60 s.
    pub approval_timeout: Duration,
    /// `tool_loop_guardrails`
    pub guardrails: Guardrails,
    /// `approvals.deny`: patterns of commands that never run.
    pub denied: Vec<String>,
    /// `command_allowlist`: patterns of commands, or names of dangers, that nobody is asked about.
    pub allowed: Vec<String>,
    /// `file_read_max_chars`. Default 100 000.
    pub max_read_chars: usize,
    /// `tool_output.max_bytes`. Default 50 000.
    pub max_output_bytes: usize,
    /// `tool_output.max_lines`. Default 2000.
    pub max_lines: usize,
    /// `tool_output.max_line_length`, in characters. Default 2000.
    pub max_line_length: usize,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            cwd: None,
            timeout: Duration::from_secs(180),
            env_passthrough: Vec::new(),
            home_mode: HomeMode::Auto,
            fence: FenceMode::Auto,
            approvals: ApprovalMode::Smart,
            backend: None,
            persistent_shell: true,
            approval_timeout: Duration::from_secs(60),
            guardrails: Guardrails::default(),
            denied: Vec::new(),
            allowed: Vec::new(),
            max_read_chars: 100_000,
            max_output_bytes: 50_000,
            max_lines: 2000,
            max_line_length: 2000,
        }
    }
}

impl ToolSettings {
    /// The directory that relative paths are relative to; `~` is the user's home.
    pub fn workspace(&self, home: &ProfileHome, user_home: Option<&Utf8Path>) -> Utf8PathBuf {
        let Some(cwd) = &self.cwd else { return home.workspace() };
        match (cwd.strip_prefix("~"), user_home) {
            (Ok(below), Some(user_home)) => user_home.join(below),
            _ => home.path().join(cwd),
        }
    }
}

/// When a model is told that it goes round in circles, and when it is stopped. A number of 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guardrails {
    /// `warnings_enabled`. Default true.
    pub warns: bool,
    /// `warn_after`. Default 2, 3, 2.
    pub warn_after: Repeats,
    /// `hard_stop_enabled`. Default false.
    pub stops: bool,
    /// `hard_stop_after`. Default 5, 8, 5.
    pub stop_after: Repeats,
}

/// How often the same happens in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// `exact_failure`: the same call has failed.
    pub exact_failure: u32,
    /// `same_tool_failure`: calls of one tool have failed, one after the other.
    pub same_tool_failure: u32,
    /// `idempotent_no_progress`: the same call has given the same result.
    pub no_progress: u32,
}

impl Default for Guardrails {
    fn default() -> Self {
        let repeats = |exact_failure, same_tool_failure, no_progress| Repeats {
            exact_failure,
            same_tool_failure,
            no_progress,
        };
        Self { warns: true, warn_after: repeats(2, 3, 2), stops: false, stop_after: repeats(5, 8, 5) }
    }
}

/// What `HOME` is for programs that a profile starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HomeMode {
    /// `home` in the profile's home where that exists, else the user's.
    #[default]
    Auto,
    /// The user's.
    Real,
    /// `home` in the profile's home.
    Profile,
}

/// What is around programs that a profile starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FenceMode {
    /// The best fence that the machine allows, and none where it allows none.
    #[default]
    Auto,
    /// None.
    Off,
    /// A fence, or no program.
    Require,
}

impl FenceMode {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Require => "require",
        }
    }
}

/// What happens to a dangerous command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalMode {
    /// Somebody is asked.
    Manual,
    /// A second model is asked, and somebody where there is none.
    Smart,
    /// It runs.
    Off,
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
    /// `agent.image_input_mode` is not `text`: models are shown the pictures of chats. Default true.
    pub shows_pictures: bool,
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
    /// `agent.clarify_timeout`: how long whoever was asked something has to answer. Default 3600 s.
    pub clarify_timeout: Duration,
    /// `agent.echo_delay_ms`: with the engine `echo`, a wait before each piece of an answer, to try out slow turns. Default 0.
    pub echo_delay: Duration,
    /// `agent.acp`: with the engine `acp`, the program that answers.
    pub acp: Acp,
    /// `agent.trial_tool`: a file of the home to which the model may append lines, by the tool `note`: to try out turns with tools.
    pub trial_tool: Option<String>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            engine: EngineKind::Native,
            max_turns: 90,
            shows_pictures: true,
            api_max_retries: 3,
            restart_drain_timeout: Duration::from_secs(20),
            gateway_timeout: Duration::from_mins(30),
            postpone_timeout: Duration::from_hours(24),
            auto_continue_freshness: Duration::from_hours(1),
            stream_stale_timeout: Duration::from_mins(15),
            clarify_timeout: Duration::from_hours(1),
            echo_delay: Duration::ZERO,
            acp: Acp::default(),
            trial_tool: None,
        }
    }
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
    /// `home_channel`: the chat that is meant where only the platform is named.
    pub home: Option<HomeChannel>,
    /// `gateway_restart_notification`: its chats hear that the gateway has started. Default true.
    pub notices: bool,
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
    /// What is told behind it.
    pub personalities: Personalities,
}

impl Default for PromptSettings {
    fn default() -> Self {
        Self {
            append_hints: BTreeMap::new(),
            replace_hints: BTreeMap::new(),
            environment_probe: true,
            context_file_max_chars: None,
            personalities: Personalities::default(),
        }
    }
}
