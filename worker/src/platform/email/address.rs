//! Addresses, as people are known by them here. Pure.

/// Longest address (RFC 5321), in bytes.
const LONGEST: usize = 254;

/// An address in lower case, by which its owner is known; none: it is none, or one of a form that nobody has (a quoted name, white space).
pub(crate) fn of(text: &str) -> Option<String> {
    let text = text.trim();
    let (name, domain) = text.split_once('@')?;
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"@".contains(c);
    let is_domain =
        !domain.starts_with(['.', '-']) && !domain.ends_with(['.', '-']) && !domain.contains("..");
    let is_one = !name.is_empty() && !domain.is_empty() && is_domain && text.len() <= LONGEST;
    (is_one && !name.contains(is_odd) && !domain.contains(is_odd)).then(|| text.to_lowercase())
}

/// The domain of one.
pub(crate) fn domain(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain)
}

/// Whether a name is another one, or below it.
pub(crate) fn is_within(name: &str, other: &str) -> bool {
    let (name, other) = (name.trim_end_matches('.'), other.trim_end_matches('.'));
    let is_below = || {
        name.len() > other.len()
            && name.as_bytes()[name.len() - other.len() - 1] == b'.'
            && name.as_bytes()[name.len() - other.len()..].eq_ignore_ascii_case(other.as_bytes())
    };
    !other.is_empty() && (name.eq_ignore_ascii_case(other) || is_below())
}
