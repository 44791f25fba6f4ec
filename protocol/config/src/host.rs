//! What a host may be told. A key goes to a host by the host's parsed name, never by a look at the address's text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use hermes_wire::providers::TABLE;

/// Keys that belong to one vendor, and the hosts they may go to. No address that merely looks alike gets them.
const GATED: [(&str, &[&str]); 3] = [
    ("OPENAI_API_KEY", &["openai.com", "openai.azure.com"]),
    ("OPENROUTER_API_KEY", &["openrouter.ai"]),
    ("OLLAMA_API_KEY", &["ollama.com"]),
];

/// Whether `host` is `suffix` or below it.
pub(super) fn is_under(host: &str, suffix: &str) -> bool {
    host == suffix || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
}

/// The host's name without a final dot; the parser has made it lower case.
pub(super) fn name(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_end_matches('.')
}

/// Whether the key in this variable may go to `url`, as far as the variable's vendor is known to be particular.
pub(super) fn may_get(variable: &str, url: &Url) -> bool {
    GATED
        .iter()
        .find(|(gated, _)| *gated == variable)
        .is_none_or(|(_, hosts)| hosts.iter().any(|h| is_under(name(url), h)))
}

/// Variables whose key may go to a custom endpoint at `url`, best first.
pub(super) fn key_variables(url: &Url) -> Vec<String> {
    let host = name(url);
    let mut found: Vec<String> = GATED
        .iter()
        .filter(|(_, hosts)| hosts.iter().any(|h| is_under(host, h)))
        .map(|(variable, _)| (*variable).to_owned())
        .collect();
    for row in TABLE {
        if row_host(row.base_url).is_some_and(|known| is_under(host, &known)) {
            found.extend(row.keys.iter().map(|key| (*key).to_owned()));
        }
    }
    if let Some(derived) = vendor_variable(url) {
        // A name that the table knows belongs to that provider's own domain.
        let foreign = TABLE.iter().any(|row| {
            row.keys.contains(&derived.as_str())
                && row_host(row.base_url).is_some_and(|known| !is_under(host, last_two_labels(&known)))
        });
        if !foreign && may_get(&derived, url) {
            found.push(derived);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|variable| seen.insert(variable.clone()));
    found
}

fn row_host(base_url: &str) -> Option<String> {
    Url::parse(base_url).ok().map(|url| name(&url).to_owned())
}

fn last_two_labels(host: &str) -> &str {
    let start = host.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    &host[start..]
}

/// `api.groq.com` → `GROQ_API_KEY`.
fn vendor_variable(url: &Url) -> Option<String> {
    let host = url.domain()?.trim_end_matches('.');
    let mut labels = host.rsplit('.');
    let _top_level = labels.next()?;
    let vendor = labels.next()?;
    let vendor: String = vendor
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    (!vendor.is_empty() && !vendor.starts_with(|c: char| c.is_ascii_digit()))
        .then(|| format!("{vendor}_API_KEY"))
}

/// Whether `url` leads to this machine.
pub fn is_loopback(url: &Url) -> bool {
    match address(url) {
        Some(ip) => ip.is_loopback(),
        None => is_under(name(url), "localhost"),
    }
}

/// Whether `url` leads to this machine or its own network: such servers often need no key.
pub(super) fn is_local(url: &Url) -> bool {
    let host = name(url);
    match address(url) {
        Some(IpAddr::V4(ip)) => is_local_v4(ip),
        Some(IpAddr::V6(ip)) => is_local_v6(ip),
        None => {
            let single_label = !host.is_empty() && !host.contains('.');
            single_label
                || ["localhost", "local", "internal", "lan"].iter().any(|suffix| is_under(host, suffix))
        }
    }
}

fn address(url: &Url) -> Option<IpAddr> {
    let host = name(url);
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    // The last is shared address space, which private overlays use.
    let overlay = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 0x40;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || overlay
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || ip.to_ipv4_mapped().is_some_and(is_local_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_vendors_key_goes_to_the_vendors_hosts_only() {
        let keys = |text: &str| key_variables(&url(text));
        assert_eq!(keys("https://api.openai.com/v1"), ["OPENAI_API_KEY"]);
        assert_eq!(keys("https://me.openai.azure.com/openai/v1"), ["OPENAI_API_KEY", "AZURE_API_KEY"]);
        assert_eq!(keys("https://openrouter.ai/api/v1"), ["OPENROUTER_API_KEY"]);
        assert_eq!(keys("https://api.groq.com/openai/v1"), ["GROQ_API_KEY"]);
        assert_eq!(
            keys("https://api.z.ai/api/paas/v4"),
            ["GLM_API_KEY", "ZAI_API_KEY", "Z_AI_API_KEY", "Z_API_KEY"]
        );
        assert_eq!(keys("https://eu.deepseek.com/v1"), ["DEEPSEEK_API_KEY"]);
        for alike in [
            "https://api.openai.com.evil.example/v1",
            "https://evilopenai.com/v1",
            "https://openai.com@evil.example/v1",
            "https://evil.example/openai.com/v1",
            "https://openai.net/v1",
            "https://deepseek.net/v1",
            "https://openrouter.ai.evil.example/",
            "http://127.0.0.1:1/api.openai.com",
        ] {
            let got = keys(alike);
            assert!(
                ["OPENAI", "OPENROUTER", "DEEPSEEK"].iter().all(|v| !got.contains(&format!("{v}_API_KEY"))),
                "{alike}: {got:?}"
            );
        }
        assert_eq!(keys("https://API.OpenAI.com./v1"), ["OPENAI_API_KEY"]);
        assert!(keys("http://10.0.0.1/v1").is_empty() && keys("http://localhost:1/v1").is_empty());
    }

    #[test]
    fn loopback_and_local() {
        for loopback in [
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:8",
            "http://localhost",
            "http://a.localhost.",
        ] {
            assert!(is_loopback(&url(loopback)) && is_local(&url(loopback)), "{loopback}");
        }
        for local in [
            "http://192.168.1.2",
            "http://ollama:11434",
            "http://nas.local",
            "http://[fd00::1]",
            "http://100.64.0.1",
        ] {
            assert!(!is_loopback(&url(local)) && is_local(&url(local)), "{local}");
        }
        for far in [
            "https://api.openai.com",
            "http://8.8.8.8",
            "http://localhost.evil.example",
            "http://[2001:db8::1]",
        ] {
            assert!(!is_loopback(&url(far)) && !is_local(&url(far)), "{far}");
        }
    }
}
