//! A page of the web: any text becomes bounded text without a character that is obeyed instead of read, and any address is judged: what is
//! let through is of the public internet.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/web/address.rs"]
mod address;
#[allow(dead_code)]
#[path = "../../../worker/src/web/markdown.rs"]
mod markdown;

fuzz_target!(|data: &[u8]| {
    let html = String::from_utf8_lossy(data);
    let at = url::Url::parse("https://example.org/a/b").expect("it is one");
    let page = markdown::read(&html, Some(&at));
    assert!(page.text.len() <= html.len() * 100 + 4096);
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!page.text.chars().chain(page.title.unwrap_or_default().chars()).any(is_obeyed));
    if let Ok(url) = url::Url::parse(&html)
        && address::is_allowed(&url).is_ok()
        && let address::Host::Address(ip) = address::of(&url)
        && address::judge(ip) == address::Verdict::Public
    {
        assert!(!ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast());
        if let std::net::IpAddr::V4(ip) = ip {
            assert!(!ip.is_private() && !ip.is_link_local() && !ip.is_broadcast() && !ip.is_documentation());
        }
    }
});
