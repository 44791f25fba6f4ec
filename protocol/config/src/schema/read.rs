//! The keys this program reads.

use super::Kind::{self, Address, Any, Bool, Choice, Count, Int, Limit, List, Number, Seconds, Text};
use super::servers::SERVERS;
use super::{Group, Value, auxiliary};
use crate::row::key;

/// Most tokens anybody may ask for.
const TOKENS: Kind = Int(1, 100_000_000);
const MINUTES: Kind = Int(1, u32::MAX as i64);
const YEAR: Kind = Seconds(31_536_000);

/// Groups that stand behind those of platforms.
pub(super) const BEHIND_PLATFORMS: usize = 5;

pub(super) static GROUPS: &[Group] = &[
    GATEWAY,
    UPKEEP,
    PROFILE_ROUTES,
    MODEL,
    PROVIDERS,
    AGENT,
    auxiliary::POOLS,
    auxiliary::LENGTH,
    auxiliary::BESIDE,
    super::told::PERSONALITIES,
    MEMORY,
    SKILLS,
    super::tools::TOOLS,
    SERVERS,
    super::reach::REACH,
    super::outward::OUTWARD,
    SESSIONS,
    LOGGING,
    PLATFORMS,
    super::people::PEOPLE,
    super::people::CHATS,
    super::people::MEDIA,
    OTHER,
];

const GATEWAY: Group = Group {
    title: "The gateway",
    intro: "One file decides these: the default profile's. Elsewhere they are ignored, and a warning says so.",
    outro: "A secondary profile's file may not open listeners: `enabled`, `host` or `port` of `webhook`, `api_server`, \
            `msgraph_webhook`, `feishu` (webhook mode), `wecom_callback`, `bluebubbles`, `sms`, `whatsapp_cloud` and `line` \
            refuse the start.",
    keys: &[
        key(
            "gateway.multiplex_profiles",
            Bool,
            "serve every profile under `/p/<profile>/`. The top-level spelling beats the nested one",
        )
        .no()
        .env("GATEWAY_MULTIPLEX_PROFILES")
        .also(&["multiplex_profiles"])
        .primary(),
        key(
            "gateway.multiplex_profile_allowlist",
            List,
            "names of the profiles to serve, all of them without it; `default` always is; `[]`: `default` only",
        )
        .also(&["multiplex_profile_allowlist"])
        .primary(),
        key(
            "gateway.standalone",
            Bool,
            "in a named profile's file: the gateway of all profiles leaves it alone, it has one of its own. Ignored in the \
             default profile's",
        )
        .no(),
        key(
            "gateway.on_profile_error",
            Choice(&["fail", "skip"]),
            "a profile that breaks the contract between profiles: refuse the start, or start without it",
        )
        .text("fail")
        .primary(),
        key(
            "gateway.shared_env",
            List,
            "names of variables that pass from the gateway's environment into every worker. Bot tokens, API-server keys and \
             webhook secrets are refused",
        )
        .or(Value::NoItems)
        .primary(),
        key(
            "gateway.listen",
            Address,
            "`host:port` that carries every platform, instead of one address each; `*:8644` for all interfaces",
        )
        .primary(),
        key(
            "gateway.admin",
            Address,
            "address of a page with the status (`/`), Prometheus text (`/metrics`), `/health` and `/ready`. Loopback, unless there is \
             a token",
        )
        .primary(),
        key(
            "gateway.admin_token",
            Text,
            "who wants to see anything but `/health` on `gateway.admin` needs it, as `Authorization: Bearer …` or in the page; 16 characters or \
             more, better kept in `.env`. Nothing there is encrypted: put TLS in front of it, or come by SSH",
        )
        .env("GATEWAY_ADMIN_TOKEN")
        .secret()
        .primary(),
        key(
            "gateway.keep_awake",
            Bool,
            "the machine does not fall asleep while the gateway runs: an inhibitor is held (`systemd-inhibit`, on macOS `caffeinate`)",
        )
        .no()
        .primary(),
        key(
            "gateway.max_connections",
            Int(1, 1_000_000),
            "open client connections, all listeners together; half of them are divided among the listeners, so that one cannot \
             starve the others. Fewer where the limit of open files asks for it: `hermes status` says so. At the limit the \
             connection that has waited longest without a complete request makes room",
        )
        .int(4096)
        .primary(),
        key(
            "gateway.max_connections_per_address",
            Int(0, 1_000_000),
            "open client connections of one address (of one /64 network, for IPv6); half of `gateway.max_connections` without it. \
             `0`, for a gateway behind a reverse proxy, where all clients have the proxy's address: no such limit",
        )
        .primary(),
        key(
            "gateway.max_requests_per_profile",
            Int(1, 100_000),
            "requests in flight for one profile; at the limit the slowest whose body has not come makes room, and if there is \
             none, more get 503",
        )
        .int(256)
        .primary(),
        key(
            "gateway.max_body_bytes",
            Int(1024, 1 << 40),
            "largest request body the gateway passes on; platforms have smaller limits of their own",
        )
        .int(64 << 20)
        .primary(),
        key(
            "gateway.header_timeout_ms",
            Int(100, 600_000),
            "time a client has for a request's head, from the connection or the head's first byte",
        )
        .int(15_000)
        .primary(),
        key(
            "gateway.body_timeout_ms",
            Int(0, 86_400_000),
            "time a client has for a request's body, until the profile begins to answer; `0`: any",
        )
        .int(300_000)
        .primary(),
        key(
            "gateway.min_body_rate",
            Int(0, 1 << 30),
            "bytes a second a request's body must come with, after the time that a head may take and until the profile begins to \
             answer; `0`: any",
        )
        .int(500)
        .primary(),
        key(
            "gateway.max_inbound_media_bytes",
            Int(-1, 1 << 50),
            "most bytes of what comes with one message (pictures, recordings, documents), also where it is given to another profile, \
             whose own file counts too; `0` or less: any",
        )
        .int(134_217_728),
        key("gateway.hold_ms", Int(0, 600_000), "time a request waits for a worker that is starting")
            .int(5000)
            .primary(),
        key("gateway.response_timeout_ms", Int(100, 86_400_000), "time a worker has until the response's head")
            .int(3_600_000)
            .primary(),
        key("gateway.start_timeout_ms", Int(100, 600_000), "time a worker has from spawn to ready")
            .int(30_000)
            .primary(),
        key("gateway.heartbeat_ms", Int(20, 60_000), "time between two heartbeats of a worker that has news; without any, up to 15 s")
            .int(1000)
            .primary(),
        key(
            "gateway.stuck_after_ms",
            Int(100, 3_600_000),
            "silence after which a worker is replaced; at least twice `gateway.heartbeat_ms`",
        )
        .int(10_000)
        .primary(),
    ],
};

const UPKEEP: Group = Group {
    title: "When a worker runs, and what it may take",
    intro: "Each profile's own file decides these. What it does not say, the default profile's file says for all of them. The \
            default profile itself always runs: its limits are its own, its `autostart` is only what the others fall back on.",
    outro: "`on-demand`: the profile is looked at when the gateway starts, and sleeps. Its first request starts the worker and waits \
            for it; so does an event that the default profile's bot hands over. A worker that had nothing to do for `idle_timeout` \
            goes to sleep again, never with a bot's connection, a turn, a message or a delivery that waits, or an open stream. \
            `never`: `hermes gateway start -p NAME` starts it, until the gateway stops. Limits are kept by the kernel (cgroup 2), \
            where the gateway has a control group of its own to divide: `hermes status` says where not.",
    keys: &[
        key(
            "gateway.autostart",
            Choice(&["always", "on-demand", "never"]),
            "when the worker runs: all the time (also without this key), while it is needed, or when it is started by hand",
        ),
        key(
            "gateway.idle_timeout",
            YEAR,
            "seconds without work after which a worker that runs `on-demand` sleeps; 300 without this key",
        ),
        key(
            "gateway.limits.memory",
            Text,
            "most memory of the worker with everything that it starts, such as `512M` or `2G`; beyond it the kernel ends them",
        ),
        key("gateway.limits.cpu", Number, "most processors at a time, such as `0.5` or `2`"),
        key("gateway.limits.tasks", Int(16, 4_194_304), "most processes and threads"),
    ],
};

const PROFILE_ROUTES: Group = Group {
    title: "One bot, several profiles",
    intro: "`profile_routes` of the default profile's file, a list of rules: what comes in through one of the default profile's \
            bots and fits a rule is answered by that rule's profile, through the same bot. A rule fits where everything that it \
            names is so; the most telling one wins (a person before a thread, a chat, a server), of equals the first. In force \
            with `gateway.multiplex_profiles`.",
    outro: "What fits a rule whose profile is not served is refused, and never answered by `default`. An entry that is no rule is \
            left out, with a warning that names it.",
    keys: &[
        key("profile_routes.*.platform", Text, "the platform, such as `telegram`; needed")
            .also(&["gateway.profile_routes.*.platform"])
            .primary(),
        key("profile_routes.*.profile", Text, "the profile that answers; needed")
            .also(&["gateway.profile_routes.*.profile"])
            .primary(),
        key("profile_routes.*.name", Text, "what the rule is called in messages")
            .also(&["gateway.profile_routes.*.name"])
            .primary(),
        key("profile_routes.*.enabled", Bool, "whether the rule is in force")
            .yes()
            .also(&["gateway.profile_routes.*.enabled"])
            .primary(),
        key("profile_routes.*.guild_id", Text, "only in this server, team or space")
            .also(&["gateway.profile_routes.*.guild_id"])
            .primary(),
        key("profile_routes.*.chat_id", Text, "only in this chat, its threads and posts included")
            .also(&["gateway.profile_routes.*.chat_id"])
            .primary(),
        key("profile_routes.*.thread_id", Text, "only in this thread")
            .also(&["gateway.profile_routes.*.thread_id"])
            .primary(),
        key("profile_routes.*.user_id", Text, "only from this person; an empty one makes the rule none")
            .also(&["gateway.profile_routes.*.user_id"])
            .primary(),
        key(
            "profile_routes.*.bot_profile",
            Text,
            "the profile whose bot receives: the rules of other bots than the default profile's are left out",
        )
        .also(&["gateway.profile_routes.*.bot_profile"])
        .primary(),
    ],
};

const MODEL: Group = Group {
    title: "The model",
    intro: "As in 0.19.0; `model: vendor/name` is short for `model.default`. Any server that speaks chat completions, \
            or with `api_mode` Anthropic's Messages: `provider: custom` and its `base_url`.",
    outro: "",
    keys: &[
        key("model.default", Text, "the model's id, as it is sent").also(&["model.model", "model.name"]),
        key("model.provider", Text, "who serves it; found out from the keys in `.env` without it")
            .also(&["provider"]),
        key("model.base_url", Text, "address of its API").also(&["model.api_base", "base_url"]),
        key("model.api_key", Text, "its key, better kept in `.env`").also(&["model.api"]).secret(),
        key("model.key_env", Text, "the variable of `.env` that holds its key").also(&["model.api_key_env"]),
        key(
            "model.api_mode",
            Choice(&super::WIRES),
            "the wire it speaks; follows from provider and address without it",
        ),
        key("model.context_length", TOKENS, "tokens of its context").also(&["context_length"]),
        key("model.max_tokens", TOKENS, "most tokens of one answer"),
        key(
            "fallback_providers",
            Any,
            "who is asked for a turn where the provider fails, in order: a list of `{provider, model, base_url, api_key, key_env, api_mode}`",
        )
        .also(&["fallback_model"]),
        key(
            "prompt_caching.cache_ttl",
            Choice(&["5m", "1h"]),
            "how long Anthropic keeps what a prompt begins with, so that it is read at a tenth of the price",
        )
        .text("5m"),
    ],
};

const PROVIDERS: Group = Group {
    title: "Providers",
    intro: "`providers.<name>` describes a provider of your own, for `model.provider: <name>`. `custom_providers` is the older \
            list of the same, each item with a `name`.",
    outro: "",
    keys: &[
        key("providers.*.base_url", Text, "address of its API").also(&[
            "providers.*.url",
            "providers.*.api",
            "custom_providers.*.base_url",
            "custom_providers.*.url",
            "custom_providers.*.api",
        ]),
        key("providers.*.api_key", Text, "its key, better kept in `.env`")
            .also(&["custom_providers.*.api_key"])
            .secret(),
        key("providers.*.key_env", Text, "the variable of `.env` that holds its key").also(&[
            "providers.*.api_key_env",
            "custom_providers.*.key_env",
            "custom_providers.*.api_key_env",
        ]),
        key("providers.*.api_mode", Text, "the wire it speaks").also(&[
            "providers.*.transport",
            "custom_providers.*.api_mode",
            "custom_providers.*.transport",
        ]),
        key("providers.*.default_model", Text, "a model's id").also(&[
            "providers.*.model",
            "custom_providers.*.default_model",
            "custom_providers.*.model",
        ]),
        key("providers.*.extra_body", Any, "merged into every request")
            .also(&["custom_providers.*.extra_body"]),
        key("providers.*.extra_headers", Any, "sent with every request")
            .also(&["custom_providers.*.extra_headers"]),
        key("providers.*.max_output_tokens", TOKENS, "most tokens of one answer")
            .also(&["custom_providers.*.max_output_tokens"]),
        key("providers.*.enabled", Bool, "whether it may be used")
            .yes()
            .also(&["custom_providers.*.enabled"]),
        key("custom_providers.*.name", Text, "in the older list: its name")
            .also(&["custom_providers.*.provider_key"]),
    ],
};

const AGENT: Group = Group {
    title: "Turns",
    intro: "",
    outro: "",
    keys: &[
        key(
            "agent.engine",
            Choice(&["native", "acp", "echo"]),
            "`native`: a model, with the tools here; `acp`: another agent, see `agent.acp`; `echo`: answer with what was sent, offline; says that it is no model",
        )
        .text("native"),
        key(
            "toolsets",
            List,
            "groups of tools that the model is offered: `memory`, `skills`, `session_search`, `todo`, `file`, `terminal`, `web`, …; \
             `hermes-cli` and the like are all of them",
        ),
        key("platform_toolsets.*", List, "the same for one platform, instead; a webhook has none unless it is said here"),
        key("agent.disabled_toolsets", List, "groups that are never offered"),
        key(
            "agent.acp.command",
            List,
            "with the engine `acp`: the program that speaks the Agent Client Protocol on its standard input and output, and its \
             arguments, each an item of its own",
        ),
        key("agent.acp.cwd", Text, "directory that its sessions work in; what `terminal.cwd` says without it"),
        key(
            "agent.acp.env",
            List,
            "names of variables in `.env` that it gets, its credentials above all; it gets no others of them",
        ),
        key(
            "agent.acp.auth",
            Text,
            "how it is to sign in when it starts, in its own word for it: some agents want to be told",
        ),
        key(
            "agent.acp.mode",
            Text,
            "mode that its sessions are put into, in its own word; for most agents that decides what they ask about and what they \
             just do",
        ),
        key(
            "agent.acp.start_timeout",
            Seconds(86_400),
            "seconds it has to say what it is; a program that is downloaded first needs more",
        )
        .int(60),
        key(
            "agent.acp.instructions",
            Bool,
            "tell it who the profile is: `SOUL.md`, what it remembers, where messages come from",
        )
        .yes(),
        key("agent.echo_delay_ms", Int(0, 600_000), "pause before each piece of an echo").int(0),
        key("agent.max_turns", Limit(100_000), "calls to the model for one message; `none`, or 0: any number of them")
            .int(90)
            .also(&["max_turns"]),
        key("agent.api_max_retries", Count(100), "attempts in all, at least one").int(3),
        key(
            "agent.restart_drain_timeout",
            YEAR,
            "seconds running turns have on stop, swap and shutdown, a day at most; 0 interrupts at once",
        )
        .int(20),
        key("agent.gateway_timeout", YEAR, "seconds of silence after which a turn is ended; 0: never")
            .int(1800),
        key(
            "agent.postpone_timeout",
            YEAR,
            "seconds for which a message is tried again while the provider is away, limited, unpaid or refuses the key; \
             0: it fails at once",
        )
        .int(86_400),
        key(
            "agent.gateway_auto_continue_freshness",
            YEAR,
            "seconds after which an interrupted turn is not continued any more; 0: any age",
        )
        .int(3600),
        key(
            "agent.local_stream_stale_timeout",
            YEAR,
            "seconds of silence after which a model's stream is dropped",
        )
        .int(900),
        key("agent.environment_probe", Bool, "tell the model about the machine it works on").yes(),
        key("context_file_max_chars", TOKENS, "most characters of a context file in the prompt"),
        key(
            "platform_hints.*",
            Any,
            "text added to what the model is told about that platform, or a mapping",
        ),
        key("platform_hints.*.append", Text, "the text that is added"),
        key("platform_hints.*.replace", Text, "text that stands instead of it"),
    ],
};

const MEMORY: Group = Group {
    title: "Memory",
    intro: "What the model keeps between sessions, in `memories/MEMORY.md` and `memories/USER.md` of the profile's home.",
    outro: "",
    keys: &[
        key("memory.memory_enabled", Bool, "the model has notes of its own").yes(),
        key("memory.user_profile_enabled", Bool, "the model has notes on who the user is").yes(),
        key("memory.memory_char_limit", Int(0, 100_000_000), "most characters of its notes").int(2200),
        key("memory.user_char_limit", Int(0, 100_000_000), "most characters of its notes on the user").int(1375),
        key(
            "memory.write_approval",
            Bool,
            "nothing is written unless somebody approves of it, as of a command; where nobody can be asked, nothing",
        )
        .no(),
    ],
};

const SKILLS: Group = Group {
    title: "Skills",
    intro: "What the model can be told about one kind of work.",
    outro: "",
    keys: &[
        key(
            "skills.external_dirs",
            List,
            "directories with more skills than those of the home; relative ones are below it",
        )
        .or(Value::NoItems),
        key("skills.disabled", List, "names of skills that are not offered").or(Value::NoItems),
        key("skills.platform_disabled.*", List, "names of skills that are not offered to who comes that way"),
        key(
            "skills.template_vars",
            Bool,
            "fill `${HERMES_SKILL_DIR}` and `${HERMES_SESSION_ID}` into a skill's text",
        )
        .yes(),
    ],
};

const SESSIONS: Group = Group {
    title: "Sessions",
    intro: "`reset_by_platform.<name>` and `reset_by_type.<name>` (`dm`, `group`, `thread`) have the keys of `session_reset`, for one \
            platform or kind of chat; the platform wins. All three may also stand below `gateway`; as a whole, the top level \
            wins.",
    outro: "",
    keys: &[
        key("max_concurrent_sessions", Int(0, 10_000), "turns at once in this profile; 0: no limit")
            .int(16)
            .also(&["gateway.max_concurrent_sessions"]),
        key(
            "display.busy_input_mode",
            Choice(&["queue", "steer", "interrupt"]),
            "what a chat's message does while another is answered: wait, be told to the model after its next tools, or take its place; events of webhooks wait",
        )
        .text("interrupt")
        .env("HERMES_GATEWAY_BUSY_INPUT_MODE"),
        key("group_sessions_per_user", Bool, "in a group, a session for each of its members")
            .yes()
            .also(&["gateway.group_sessions_per_user"]),
        key("thread_sessions_per_user", Bool, "in a thread, a session for each of its members")
            .no()
            .also(&["gateway.thread_sessions_per_user"]),
        key("session_reset.mode", RESET_MODE, "when a session begins anew by itself")
            .text("none")
            .also(&["gateway.session_reset.mode"]),
        key("session_reset.at_hour", Int(0, 23), "the hour of `daily`, local time")
            .int(4)
            .env("SESSION_RESET_HOUR")
            .also(&["gateway.session_reset.at_hour"]),
        key("session_reset.idle_minutes", MINUTES, "the silence of `idle`")
            .int(1440)
            .env("SESSION_IDLE_MINUTES")
            .also(&["gateway.session_reset.idle_minutes"]),
        key("session_reset.notify", Bool, "say so in the conversation")
            .yes()
            .also(&["gateway.session_reset.notify"]),
        key("reset_by_platform.*.mode", RESET_MODE, "when a session begins anew by itself, there").also(&[
            "gateway.reset_by_platform.*.mode",
            "reset_by_type.*.mode",
            "gateway.reset_by_type.*.mode",
        ]),
        key("reset_by_platform.*.at_hour", Int(0, 23), "the hour, there").also(&[
            "gateway.reset_by_platform.*.at_hour",
            "reset_by_type.*.at_hour",
            "gateway.reset_by_type.*.at_hour",
        ]),
        key("reset_by_platform.*.idle_minutes", MINUTES, "the silence, there").also(&[
            "gateway.reset_by_platform.*.idle_minutes",
            "reset_by_type.*.idle_minutes",
            "gateway.reset_by_type.*.idle_minutes",
        ]),
        key("reset_by_platform.*.notify", Bool, "say so, there").also(&[
            "gateway.reset_by_platform.*.notify",
            "reset_by_type.*.notify",
            "gateway.reset_by_type.*.notify",
        ]),
    ],
};

const RESET_MODE: Kind = Choice(&["none", "daily", "idle", "both", "off", "false"]);

const LOGGING: Group = Group {
    title: "Logs",
    intro: "Of `logs/gateway.log` and `logs/gateway.error.log` in the profile's home; `hermes logs` reads them.",
    outro: "",
    keys: &[
        key(
            "logging.level",
            Choice(&["error", "warn", "info", "debug", "trace", "critical", "warning"]),
            "how much is written",
        )
        .text("info"),
        key("logging.max_size_mb", Int(1, 10_000), "size at which a new file is begun").int(5),
        key("logging.backup_count", Int(0, 1000), "older files that are kept").int(3),
    ],
};

const PLATFORMS: Group = Group {
    title: "Platforms",
    intro: "A platform's keys stand below `platforms.<name>`, `gateway.platforms.<name>`, `gateway.<name>` or `<name>`; the \
            first that has one counts. Platforms without an adapter here are known, so that two profiles cannot hold one bot; \
            their other keys are kept as they are.",
    outro: "",
    keys: &[
        key("platforms.*.enabled", Bool, "`false` turns it off, whatever else is set"),
        key(
            "gateway.allow_all_users",
            Bool,
            "everybody may write to this profile's bots: what an open policy of a platform needs, which refuses the start without it",
        )
        .no()
        .env("GATEWAY_ALLOW_ALL_USERS"),
    ],
};

const OTHER: Group = Group {
    title: "Everything else",
    intro: "",
    outro: "",
    keys: &[
        key("timezone", Text, "an IANA name such as `Europe/Berlin`; the system's without it"),
        key("profiles.alias_prefix", Text, "put before a profile's name to make its alias: `hermes-`"),
    ],
};
