//! What must not be shown, by the names of keys: wherever a value is printed, it passes through here first.

use serde_json::Value as Json;

use super::secret::{names, url};

/// Shortest secret of which the ends are shown, in characters.
const MIN_LEN: usize = 12;

/// Whether a key of this name holds a secret: what must not be shown is what must not leave in an archive.
pub fn is_secret(name: &str) -> bool {
    names::names_secret(name)
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
        // `tokens: 4096` is a number of them.
        Json::Number(number) if is_secret(name) && !name.ends_with(['s', 'S']) => {
            mask(&number.to_string()).into()
        }
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

/// An address with its secret parts masked.
fn without_password(text: &str) -> Option<String> {
    let parts = url::secrets(text);
    let shown = parts.iter().fold(text.to_owned(), |shown, part| shown.replace(part, "***"));
    (!parts.is_empty()).then_some(shown)
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
        for plain in [
            "max_tokens",
            "monkey",
            "key_env",
            "keys",
            "secretary",
            "model",
            "author",
            "",
            "tokenizer",
            "public_key",
        ] {
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
        assert_eq!(masked("tokens", &json!(["abc"])), json!(["***"]));
        assert_eq!(masked("tokens", &json!(4096)), json!(4096));
        assert_eq!(masked("bot_token", &json!(["abc"])), json!(["***"]));
    }
}
