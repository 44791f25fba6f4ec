//! What the text of one value means, whoever reads it: a flag, a number, an address, a list with commas, `${NAME}`. Pure, and
//! without a word about where the text stands.

use super::secret::Env;
use super::types::MAX_FILE_LEN;

/// What a text may mean as a boolean; YAML 1.1's spellings, quoted or not.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A whole number as YAML writes them: `_` between digits, `.0` at the end.
pub(super) fn whole(text: &str) -> Option<i64> {
    let text = text.trim().replace('_', "");
    text.strip_suffix(".0").unwrap_or(&text).parse().ok()
}

/// The parts of `a, b`, none of them empty.
pub(super) fn split_commas(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Replaces `${NAME}` from `.env`; a name that is not there stays as written. `None`: it would be longer than any file.
pub(super) fn expand(text: &str, env: &Env, mut missing: impl FnMut(&str)) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = from.find('}') else {
            rest = from;
            break;
        };
        // The longer spelling is the Python program's, in tool servers.
        let written = &from[2..end];
        let name = written.strip_prefix("env:").unwrap_or(written);
        if let Some(value) = env.raw(name) {
            out.push_str(value);
        } else {
            out.push_str(&from[..=end]);
            if is_variable_name(name) {
                missing(name);
            }
        }
        rest = &from[end + 1..];
        if out.len() > MAX_FILE_LEN {
            return None;
        }
    }
    out.push_str(rest);
    Some(out)
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The value of a checked range as the type that holds the range.
pub(super) fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `host:port`, `[v6]:port`, `*:port` or `:port`.
pub(super) fn address(text: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let bare = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if bare.chars().any(char::is_whitespace) || bare.contains('/') {
        return None;
    }
    Some((Some(bare).filter(|h| !h.is_empty() && *h != "*").map(str::to_owned), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        let some = |host: &str, port| Some((Some(host.to_owned()), port));
        assert_eq!(address("127.0.0.1:8644"), some("127.0.0.1", 8644));
        assert_eq!(address("[::1]:0"), some("::1", 0));
        assert_eq!(address("*:80"), Some((None, 80)));
        assert_eq!(address(":80"), Some((None, 80)));
        for bad in ["8644", "host", "host:", "host:99999", "::1:80", "http://h:80", "a b:1", ""] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
