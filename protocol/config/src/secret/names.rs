//! Which names hold secrets, and which values are ones by their looks.

/// Ends of names, in lower case with `_` for every separator; singular and plural.
const SUFFIXES: [&str; 45] = [
    "api_key",
    "apikey",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "private_key",
    "access_key",
    "secret_key",
    "app_key",
    "auth_key",
    "signing_key",
    "encryption_key",
    "encoding_aes_key",
    "aes_key",
    "account_key",
    "access_key_id",
    "client_key",
    "server_key",
    "service_account",
    "credential",
    "authorization",
    "bearer",
    "cookie",
    "webhook_url",
    "connection_string",
    "dsn",
    "recovery_key",
    "auth",
    "pass",
    "pw",
    "passcode",
    "passwort",
    "kennwort",
    "contrasena",
    "senha",
    "pat",
    "otp",
    "totp",
    "mnemonic",
    "seed_phrase",
    "session_cookie",
    "jwt",
];

/// Words that make a name one of a password wherever they stand in it, unless the name ends in one of [`ABOUT`].
const PASSWORDS: [&str; 4] = ["password", "passwd", "passphrase", "pass_phrase"];

/// What a name that speaks of a secret without holding it ends in.
const ABOUT: [&str; 18] = [
    "_file",
    "_path",
    "_env",
    "_command",
    "_cmd",
    "_url",
    "_policy",
    "_length",
    "_required",
    "_enabled",
    "_hint",
    "_manager",
    "_prompt",
    "_name",
    "_type",
    "_store",
    "_min",
    "_max",
];

/// Keys of tables, caches and keyboards, which open nothing.
const OPEN_KEYS: [&str; 16] = [
    "primary_key",
    "foreign_key",
    "sort_key",
    "cache_key",
    "dedupe_key",
    "dedup_key",
    "session_key",
    "routing_key",
    "partition_key",
    "public_key",
    "group_key",
    "hot_key",
    "leader_key",
    "shortcut_key",
    "lookup_key",
    "idempotency_key",
];

/// Whole names.
pub(super) const NAMES: [&str; 5] = ["key", "auth", "pass", "pin", "jwt"];

/// Beginnings of keys that services hand out.
pub(crate) const BEGINNINGS: [&str; 46] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxs-",
    "xoxe-",
    "xapp-",
    "AIza",
    "AKIA",
    "ASIA",
    "ya29.",
    "hf_",
    "gsk_",
    "xai-",
    "pplx-",
    "r8_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "SG.",
    "glptt-",
    "gldt-",
    "sk_",
    "rk_test_",
    "shpat_",
    "shpss_",
    "lin_api_",
    "sntrys_",
    "ntn_",
    "nvapi-",
    "tvly-",
    "GOCSPX-",
    "AGE-SECRET-KEY-",
    "hvs.",
];

/// `apiKey`, `API-Key` and `api_key` are one name.
pub(super) fn normal(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut before = ' ';
    for c in name.trim().chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            text.push('_');
        }
        text.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        before = c;
    }
    text
}

/// Whether what stands under this name is secret.
pub(crate) fn names_secret(name: &str) -> bool {
    let name = normal(name);
    // `api_key_2`, `token3`.
    let numbered = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    let name = if numbered.is_empty() { name.as_str() } else { numbered };
    if PASSWORDS.iter().any(|word| name.contains(word)) {
        return !ABOUT.iter().any(|end| name.ends_with(end));
    }
    let singular = name.strip_suffix('s').unwrap_or(name);
    let ends = |text: &str| {
        SUFFIXES.iter().any(|suffix| {
            text.strip_suffix(suffix)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('_') || suffix.len() > 5)
        })
    };
    // A limit on tokens, and the like.
    let counts = name.starts_with("max_")
        || name.starts_with("min_")
        || name.contains("_max_")
        || name.contains("_per_");
    if counts {
        return false;
    }
    let key = name.ends_with("_key") && !OPEN_KEYS.iter().any(|open| name.ends_with(open));
    NAMES.contains(&name) || key || ends(name) || ends(singular)
}

/// Whether everything below this name is taken for secret: variables and headers for other programs.
pub(crate) fn carries_secrets(name: &str) -> bool {
    let name = normal(name);
    name == "env"
        || name == "envs"
        || name == "environment"
        || name == "headers"
        || name.ends_with("_headers")
        || name.ends_with("_env")
        || name.ends_with("_environment")
        || name.ends_with("env_vars")
        || name.ends_with("envvars")
        || name.ends_with("cookies")
}

/// Last words of names under which command lines stand.
const COMMANDS: [&str; 14] = [
    "command",
    "commands",
    "cmd",
    "args",
    "argv",
    "arguments",
    "entrypoint",
    "exec",
    "run",
    "options",
    "opts",
    "flags",
    "script",
    "params",
];

/// Whether what stands under this name is a command line, or a part of one.
pub(crate) fn is_command(name: &str) -> bool {
    let name = normal(name);
    COMMANDS
        .iter()
        .any(|word| name.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Whether a value is only placeholders, with at most the name of a scheme before one.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let mut rest = text.trim().trim_matches(['"', '\'']).to_owned();
    // What is left of one where a text is cut at braces.
    if rest == "$" {
        return true;
    }
    let mut seen = false;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { return false };
        // `${NAME:-secret}` says the secret.
        let name = &rest[start + 2..start + end];
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return false;
        }
        rest.replace_range(start..=start + end, "");
        seen = true;
    }
    seen && matches!(
        rest.trim().to_ascii_lowercase().as_str(),
        "" | "bearer" | "basic" | "token" | "bot" | ":" | "basic :"
    )
}

/// What stands before a credential in a header.
pub(crate) fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "token", "digest", "apikey"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

pub(crate) fn is_key(word: &str) -> bool {
    let tail = |start: &str| word.strip_prefix(start).is_some_and(|rest| rest.len() >= 12 && is_opaque(rest));
    BEGINNINGS.iter().any(|start| tail(start)) || is_jwt(word) || is_telegram(word)
}

/// Letters, digits and what keys are joined with; a word of prose has no digit.
pub(crate) fn is_opaque(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/'))
        && (text.bytes().any(|b| b.is_ascii_digit()) || text.bytes().any(|b| b.is_ascii_uppercase()))
}

fn is_jwt(word: &str) -> bool {
    word.starts_with("eyJ") && word.len() > 40 && word.matches('.').count() == 2
}

/// `123456789:AA…`, a bot's token.
pub(crate) fn is_telegram(word: &str) -> bool {
    let word = word.strip_prefix("bot").unwrap_or(word);
    word.split_once(':').is_some_and(|(id, key)| {
        (6..=12).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_digit())
            && key.len() >= 30
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}
