//! Which names hold secrets, and which values are ones by their looks.

/// Ends of names, in lower case with `_` for every separator; singular and plural.
const SUFFIXES: [&str; 30] = [
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
];

/// Whole names.
const NAMES: [&str; 5] = ["key", "auth", "pass", "pin", "jwt"];

/// Beginnings of keys that services hand out.
pub(super) const BEGINNINGS: [&str; 32] = [
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
];

/// `apiKey`, `API-Key` and `api_key` are one name.
fn normal(name: &str) -> String {
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
pub(super) fn names_secret(name: &str) -> bool {
    let name = normal(name);
    let singular = name.strip_suffix('s').unwrap_or(&name);
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
    NAMES.contains(&name.as_str()) || ends(&name) || ends(singular)
}

/// Whether everything below this name is taken for secret: variables and headers for other programs.
pub(super) fn carries_secrets(name: &str) -> bool {
    let name = normal(name);
    name == "env"
        || name == "environment"
        || name == "headers"
        || name.ends_with("_headers")
        || name.ends_with("_env_vars")
}

/// Whether a value is only placeholders, with at most the name of a scheme before one.
pub(super) fn is_placeholder(text: &str) -> bool {
    let mut rest = text.trim().trim_matches(['"', '\'']).to_owned();
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

/// Whether a text is, or holds, a key by its looks.
pub(super) fn looks_secret(text: &str) -> bool {
    let text = text.trim();
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return true;
    }
    text.split(|c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}')
    })
    .any(|word| {
        let value = word.split_once('=').map_or(word, |(_, value)| value);
        is_key(word) || is_key(value) || is_url_with_secret(word) || is_option_with_secret(word)
    })
}

fn is_key(word: &str) -> bool {
    let tail = |start: &str| word.strip_prefix(start).is_some_and(|rest| rest.len() >= 12 && is_opaque(rest));
    BEGINNINGS.iter().any(|start| tail(start)) || is_jwt(word) || is_telegram(word)
}

/// Letters, digits and what keys are joined with; a word of prose has no digit.
fn is_opaque(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/'))
        && (text.bytes().any(|b| b.is_ascii_digit()) || text.bytes().any(|b| b.is_ascii_uppercase()))
}

fn is_jwt(word: &str) -> bool {
    word.starts_with("eyJ") && word.len() > 40 && word.matches('.').count() == 2
}

/// `123456789:AA…`, a bot's token.
fn is_telegram(word: &str) -> bool {
    let word = word.strip_prefix("bot").unwrap_or(word);
    word.split_once(':').is_some_and(|(id, key)| {
        (6..=12).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_digit())
            && key.len() >= 30
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}

fn is_url_with_secret(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let password =
        authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, pass)| pass);
    let query = word.split_once('?').map_or("", |(_, query)| query);
    let in_query = query.split(['&', '#']).any(|pair| {
        pair.split_once('=')
            .is_some_and(|(name, value)| names_secret(name) && !value.is_empty() && !is_placeholder(value))
    });
    let in_path = (authority.ends_with("hooks.slack.com") && path.starts_with("services/"))
        || path.contains("api/webhooks/")
        || path.split('/').any(is_telegram);
    password.is_some_and(|pass| !pass.is_empty() && !is_placeholder(pass)) || in_query || in_path
}

fn is_option_with_secret(word: &str) -> bool {
    word.starts_with('-')
        && word.split_once('=').is_some_and(|(name, value)| {
            names_secret(name.trim_start_matches('-')) && !value.is_empty() && !is_placeholder(value)
        })
}
