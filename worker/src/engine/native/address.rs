//! What to say where a provider does not know the address that was asked: most often `model.base_url` lacks its `/v1`, or names the
//! whole path of the request.

use hermes_wire::providers::TABLE;
use reqwest::Url;

/// Ends of paths that belong to a request and not to a base address.
const REQUESTS: [&str; 6] =
    ["/chat/completions", "/completions", "/responses", "/messages", "/models", "/embeddings"];

/// Whether an error answer may be about the address: nothing there knows of a model, or a parameter.
pub(super) fn is_in_question(status: u16, word: &str, message: &str) -> bool {
    let about_model = |text: &str| text.to_ascii_lowercase().contains("model");
    matches!(status, 404 | 405) && !about_model(word) && !about_model(message)
}

/// The address that was asked, and what `model.base_url` should probably be. Follows a message.
pub(super) fn advice(asked: &Url) -> String {
    let mut shown = asked.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let should = match base(asked) {
        Some(base) => format!("model.base_url should probably be `{base}`"),
        None => "compare model.base_url with what the provider documents".to_owned(),
    };
    format!(" (asked `{shown}`; {should})")
}

/// The base address that was probably meant, where it is not the one that was used.
fn base(asked: &Url) -> Option<String> {
    let used =
        asked.path().strip_suffix("/chat/completions").or_else(|| asked.path().strip_suffix("/models"))?;
    let used = used.trim_end_matches('/');
    let mut path = used;
    while let Some(shorter) = REQUESTS.iter().find_map(|end| path.strip_suffix(end)) {
        path = shorter.trim_end_matches('/');
    }
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let known = TABLE
        .iter()
        .filter_map(|row| Url::parse(row.base_url).ok())
        .find(|own| own.host() == asked.host() && own.port() == asked.port());
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match known {
        Some(known) => return (known.path().trim_end_matches('/') != used).then(|| text(&known)),
        None if parts.iter().any(|part| is_version(part)) => parts.dedup(),
        None => parts.push("v1"),
    }
    let meant = format!("/{}", parts.join("/"));
    if meant == used {
        return None;
    }
    let mut url = asked.clone();
    url.set_query(None);
    url.set_path(&meant);
    Some(text(&url))
}

fn text(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wires 3: a bare 404 names the address that was asked and the one that was probably meant.
    #[test]
    fn w3_the_base_address_that_was_probably_meant() {
        for (used, meant) in [
            ("http://127.0.0.1:11434", Some("http://127.0.0.1:11434/v1")),
            ("http://gpu:8000/", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/v1/chat/completions", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/v1/chat/completions/", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/chat/completions", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/v1/models", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/v1/v1", Some("http://gpu:8000/v1")),
            ("http://gpu:8000/v1//", None),
            ("https://llm.example/openai", Some("https://llm.example/openai/v1")),
            ("https://llm.example/v1", None),
            ("https://llm.example/v1beta/openai", None),
            ("https://openrouter.ai/v1", Some("https://openrouter.ai/api/v1")),
            ("https://openrouter.ai/api/v1", None),
        ] {
            let mut url = Url::parse(used).unwrap();
            url.set_path(&format!("{}/chat/completions", url.path().trim_end_matches('/')));
            assert_eq!(base(&url).as_deref(), meant, "{used}");
        }
        let asked = Url::parse("http://gpu:8000/chat/completions?key=secret").unwrap();
        assert_eq!(
            advice(&asked),
            " (asked `http://gpu:8000/chat/completions`; model.base_url should probably be `http://gpu:8000/v1`)"
        );
        assert!(is_in_question(404, "", "HTTP 404: 404 page not found"));
        assert!(is_in_question(405, "", "HTTP 405: Method Not Allowed"));
        assert!(!is_in_question(404, "model_not_found", "HTTP 404: no such thing"));
        assert!(!is_in_question(404, "", "HTTP 404: The model `m` does not exist"));
        assert!(!is_in_question(400, "", "HTTP 400: Not Found"));
    }
}
