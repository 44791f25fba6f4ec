//! The forwarding contract: `/p/<profile>/` splitting, path families, header names, error codes and fixed bodies.
//!
//! Splitting works on the raw path. `/` separates segments before anything is decoded; only the profile segment is decoded,
//! once; the rest reaches the worker byte for byte. There is no normalisation: what does not match exactly is a 404.

use crate::ProfileName;

/// Tells the worker which prefix was removed: `/p/coder`. A client's own copy is deleted.
pub const FORWARDED_PREFIX: &str = "x-forwarded-prefix";
/// Tells the worker (and every log behind it) the profile. A client's own copy is deleted.
pub const PROFILE: &str = "x-hermes-profile";
/// Tells the worker which platforms the listener serves: `webhook`, or `webhook,api_server`. A client's own copy is deleted.
pub const LISTENER: &str = "x-hermes-listener";
/// A worker's word that it read a request's body to its end, so that the connection may carry another request. Never passed on,
/// from a client or to one.
pub const TAKEN: &str = "x-hermes-taken";
/// Machine-readable cause on every response the supervisor makes itself.
pub const ERROR: &str = "x-hermes-error";

/// The body of `/health` of a listener that serves `platforms`: of one that serves a single platform besides the agent's API, 0.19.0's
/// short one.
pub fn health_of(platforms: &[&str], is_api: impl Fn(&str) -> bool) -> String {
    match platforms {
        [one] if !is_api(one) => format!(r#"{{"status": "ok", "platform": "{one}"}}"#),
        [] | [_] => health(""),
        several => health(&format!(r#", "platforms": ["{}"]"#, several.join(r#"", ""#))),
    }
}

/// The body of `/health` of the agent: ours and 0.19.0's fields, each release under its own key. `more` is put in front of the
/// closing brace.
fn health(more: &str) -> String {
    let (version, compatible) = (crate::VERSION, crate::COMPATIBLE_WITH);
    format!(
        r#"{{"status": "ok", "platform": "hermes-agent", "version": "{version}", "compatible_with": "{compatible}"{more}}}"#
    )
}

/// Most header lines of a request, as a client sends it.
pub const MAX_HEADERS: usize = 100;
/// Most lines that the proxy adds to them on the way to a worker.
pub const ADDED_HEADERS: usize = 8;

/// Every response carries these, whoever made it. HSTS is left out: it is for whoever terminates TLS.
pub const SECURITY_HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-xss-protection", "0"),
    ("referrer-policy", "no-referrer"),
];

/// Body of every "no such profile", byte for byte what clients of 0.19.0 match.
pub const UNKNOWN_PROFILE: &str = r#"{"error": "Unknown or unconfigured profile"}"#;
/// Body of every "no such path".
pub const NOT_FOUND: &str = "404: Not Found";
/// Content type of JSON bodies.
pub const JSON: &str = "application/json; charset=utf-8";

/// Where a raw path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split<'a> {
    /// No prefix: the default profile, path unchanged.
    Unprefixed(&'a str),
    /// `/p/<name>` + rest; the rest starts with `/`.
    Prefixed(ProfileName, &'a str),
    /// `/p`, `/p/`, or a well-formed name with nothing behind it: plain 404. The name decides between this and
    /// [`Split::UnknownProfile`] once the served set is known.
    Bare(Option<ProfileName>),
    /// Something under `/p/` that can never be a profile: the profile 404.
    UnknownProfile,
}

/// Splits a raw path (no query). Reserved names count as unknown.
///
/// ```
/// use hermes_wire::http::{Split, split};
/// let Split::Prefixed(name, rest) = split("/p/%63oder/v1/models") else { panic!() };
/// assert_eq!((name.as_str(), rest), ("coder", "/v1/models"));
/// ```
pub fn split(path: &str) -> Split<'_> {
    let Some(after) = path.strip_prefix("/p") else { return Split::Unprefixed(path) };
    let Some(after) = after.strip_prefix('/') else {
        return if after.is_empty() { Split::Bare(None) } else { Split::Unprefixed(path) };
    };
    if after.is_empty() {
        return Split::Bare(None);
    }
    let (segment, rest) = match after.find('/') {
        Some(at) => after.split_at(at),
        None => (after, ""),
    };
    let Some(name) = decode_once(segment).and_then(|s| s.parse::<ProfileName>().ok()) else {
        return Split::UnknownProfile;
    };
    if rest.is_empty() || rest == "/" { Split::Bare(Some(name)) } else { Split::Prefixed(name, rest) }
}

/// Percent-decodes once. `None` for bytes that no profile name contains anyway (malformed escapes, non-ASCII).
fn decode_once(segment: &str) -> Option<String> {
    let mut out = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        if !byte.is_ascii() {
            return None;
        }
        out.push(char::from(byte));
    }
    Some(out)
}

/// Whether `path` (without prefix and query) is among a platform's own `paths`, of which those that end with `/` stand for everything
/// below. `/health` is everybody's.
pub fn owns<P: AsRef<str>>(paths: &[P], path: &str) -> bool {
    let is = |own: &str| if own.ends_with('/') { path.starts_with(own) } else { path == own };
    path == "/health" || paths.iter().any(|own| is(own.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_split_exactly_and_rest_is_untouched() {
        assert_eq!(split("/v1/models"), Split::Unprefixed("/v1/models"));
        assert_eq!(split("/px"), Split::Unprefixed("/px"));
        assert_eq!(split("/P/coder/x"), Split::Unprefixed("/P/coder/x"));
        assert_eq!(split("//p/coder/x"), Split::Unprefixed("//p/coder/x"));
        assert_eq!(split("/p/coder/a%2Fb//c"), Split::Prefixed(name("coder"), "/a%2Fb//c"));
        assert_eq!(split("/p/default/x"), Split::Prefixed(name("default"), "/x"));
        assert_eq!(split("/p/co%64er/x"), Split::Prefixed(name("coder"), "/x"));
        assert_eq!(split("/p/coder//x"), Split::Prefixed(name("coder"), "//x"));
    }

    #[test]
    fn bare_prefixes_and_impossible_names() {
        for path in ["/p", "/p/"] {
            assert_eq!(split(path), Split::Bare(None));
        }
        for path in ["/p/coder", "/p/coder/"] {
            assert_eq!(split(path), Split::Bare(Some(name("coder"))));
        }
        for path in [
            "/p/Coder/x",
            "/p//x",
            "/p/./coder/x",
            "/p/../x",
            "/p/%20coder/x",
            "/p/coder%20/x",
            "/p/coder%2Fx/y",
            "/p/%2e%2e/x",
            "/p/coder%00/x",
            "/p/%2563oder/x",
            "/p/coder%/x",
            "/p/coder%zz/x",
            "/p/c%c3%b6/x",
            "/p/main/x",
        ] {
            assert_eq!(split(path), Split::UnknownProfile, "{path}");
        }
    }

    #[test]
    fn a_path_is_owned_whole_or_with_all_that_is_below_it() {
        let own = ["/v1/", "/health/detailed"];
        assert!(["/v1/models", "/v1/", "/health/detailed", "/health"].iter().all(|path| owns(&own, path)));
        assert!(
            ["/v1", "/", "//v1/models", "/health/", "/health/detailed/x"]
                .iter()
                .all(|path| !owns(&own, path))
        );
        assert!(owns::<&str>(&[], "/health"));
    }

    #[test]
    fn a_listener_says_who_it_is_for() {
        let agent = health("");
        let says = |names: &[&str]| health_of(names, |name| name == "api_server");
        assert_eq!((says(&[]), says(&["api_server"])), (agent.clone(), agent));
        assert_eq!(says(&["webhook"]), r#"{"status": "ok", "platform": "webhook"}"#);
        assert!(says(&["webhook", "api_server"]).ends_with(r#", "platforms": ["webhook", "api_server"]}"#));
    }
}
