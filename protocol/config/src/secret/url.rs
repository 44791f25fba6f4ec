//! Secrets within an address: a password or a token before `@`, parameters with telling names, paths that are keys themselves.

use super::names::{is_key, is_opaque, is_placeholder, is_telegram, names_secret};

/// Names of parameters that sign or open a request, besides the names that are secret anywhere.
const PARAMETERS: [&str; 8] =
    ["sig", "signature", "code", "sas", "x-amz-signature", "x-amz-credential", "x-goog-signature", "appid"];

/// Shortest user name without a password that is taken for a token.
const TOKEN: usize = 16;

/// The parts of `word` that are secret, if it is an address (`scheme://…`); each is a piece of it.
pub(crate) fn secrets(word: &str) -> Vec<&str> {
    let Some((scheme, rest)) = word.split_once("://") else { return Vec::new() };
    if scheme.is_empty() {
        return Vec::new();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    let mut found = Vec::new();
    if let Some((user, _)) = authority.rsplit_once('@') {
        match user.split_once(':') {
            Some((_, password)) if !password.is_empty() => found.push(password),
            // `https://TOKEN:@host`, `https://TOKEN@host`.
            Some((token, _)) if !token.is_empty() => found.push(token),
            None if is_key(user) || (user.len() >= TOKEN && is_opaque(user)) => found.push(user),
            _ => {}
        }
    }
    for pair in tail[path.len()..].split(['?', '&', '#', ';']) {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let telling = names_secret(name) || PARAMETERS.iter().any(|p| p.eq_ignore_ascii_case(name));
        if telling || is_key(value) {
            found.push(value);
        }
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    if authority.ends_with("hooks.slack.com") && path.starts_with("services/") {
        found.push(&path["services/".len()..]);
    } else if let Some((_, hook)) = path.split_once("api/webhooks/") {
        found.push(hook);
    }
    found.extend(path.split('/').filter(|part| is_telegram(part) || is_key(part)));
    found.retain(|part| !part.is_empty() && !is_placeholder(part));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses() {
        for (url, parts) in [
            ("https://me:pass1234@host/x", vec!["pass1234"]),
            ("https://x-access-token:@host/x", vec!["x-access-token"]),
            ("https://abcdef0123456789abcd@host/x", vec!["abcdef0123456789abcd"]),
            ("https://me@host/x", vec![]),
            ("https://host/x?a=b&api_key=abcd&sig=e%2f#access_token=t0", vec!["abcd", "e%2f", "t0"]),
            ("https://hooks.slack.com/services/T0/B0/xyz", vec!["T0/B0/xyz"]),
            ("https://discord.com/api/webhooks/1/abc", vec!["1/abc"]),
            ("https://host/x?api_key=${KEY}", vec![]),
            ("postgres://u:p%40w@h/db", vec!["p%40w"]),
            ("redis://:pw@h", vec!["pw"]),
            ("https://host/p?x=1", vec![]),
            ("://", vec![]),
        ] {
            assert_eq!(secrets(url), parts, "{url}");
        }
    }
}
