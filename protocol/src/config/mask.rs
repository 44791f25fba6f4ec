//! What must not be shown, by the names of keys: wherever a value is printed, it passes through here first.

use serde_json::Value as Json;

/// Last words of names whose values are secrets.
const SECRETS: [&str; 16] = [
    "api_key",
    "apikey",
    "key",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "secret",
    "client_secret",
    "password",
    "passwd",
    "auth",
    "authorization",
    "private_key",
    "bearer",
    "jwt",
];

/// Shortest secret of which the ends are shown, in characters.
const MIN_LEN: usize = 12;

/// Whether a key of this name holds a secret: the name is one of the words above, or ends in one (`bot_token`, `appSecret`).
pub fn is_secret(name: &str) -> bool {
    let mut words = String::with_capacity(name.len() + 4);
    let mut lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && lower {
            words.push('_');
        }
        lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        words.push(if c == '-' || c == '.' || c == ' ' { '_' } else { c.to_ascii_lowercase() });
    }
    SECRETS
        .iter()
        .any(|secret| words.strip_suffix(secret).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// A secret as it may be shown.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < MIN_LEN {
        return "***".to_owned();
    }
    let (first, last) = (&chars[..4], &chars[chars.len() - 4..]);
    format!("{}...{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

/// A value under `name`, with every secret in it masked; passwords in URLs too.
pub fn masked(name: &str, value: &Json) -> Json {
    match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), masked(key, value))).collect(),
        Json::Array(items) => items.iter().map(|item| masked(name, item)).collect(),
        Json::String(text) if is_secret(name) && !text.is_empty() && !is_reference(text) => mask(text).into(),
        Json::Number(number) if is_secret(name) => mask(&number.to_string()).into(),
        Json::String(text) => without_password(text).map_or_else(|| value.clone(), Json::String),
        _ => value.clone(),
    }
}

/// `${NAME}` names a secret and is none.
fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['$', '{', '}']))
}

/// `scheme://user:password@host` with the password masked.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, host) = rest[..end].rsplit_once('@')?;
    let (user, _) = user.split_once(':')?;
    Some(format!("{scheme}://{user}:***@{host}{}", &rest[end..]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_known_by_their_end() {
        for secret in [
            "api_key",
            "apiKey",
            "API_KEY",
            "token",
            "bot_token",
            "gateway.api_token",
            "botToken",
            "client-secret",
            "app_secret",
            "password",
            "SUDO_PASSWORD",
            "x-auth",
            "Authorization",
            "jwt",
            "FAL_KEY",
            "key",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in
            ["max_tokens", "monkey", "key_env", "keys", "secretary", "model", "author", "", "tokenizer"]
        {
            assert!(!is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn ends_of_long_secrets_are_shown() {
        assert_eq!(mask("sk-1234567890"), "sk-1...7890");
        assert_eq!((mask("short"), mask("")), ("***".to_owned(), "***".to_owned()));
        assert_eq!(mask("ääääääääääääää"), "ääää...ääää");
    }

    #[test]
    fn secrets_are_found_at_any_depth() {
        let value = json!({"api_key": "sk-1234567890", "list": [{"token": "short"}], "base_url": "http://me:pw@h/x?a=b:c@d",
            "key": "${KEY}", "secret": 1234, "port": 5});
        assert_eq!(
            masked("model", &value),
            json!({"api_key": "sk-1...7890", "list": [{"token": "***"}], "base_url": "http://me:***@h/x?a=b:c@d",
                "key": "${KEY}", "secret": "***", "port": 5})
        );
        assert_eq!(masked("tokens", &json!(["abc"])), json!(["abc"]));
        assert_eq!(masked("bot_token", &json!(["abc"])), json!(["***"]));
    }
}
