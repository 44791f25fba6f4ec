//! Where an address may lead. Pure.
//!
//! Everything that is not known to be the public internet is private: the judge names what is let through, and the rest is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Of the public internet.
    Public,
    /// Of this machine or its networks, or no address to send to; and what it is.
    Private(&'static str),
    /// Of a service that hands out a machine's credentials; no setting opens it.
    Never(&'static str),
}

impl Verdict {
    /// Why it is refused; for people.
    pub fn why(self, ip: IpAddr) -> String {
        match self {
            Self::Public => format!("{ip} is public"),
            Self::Private(what) => {
                format!(
                    "{ip} is {what}; `security.allow_private_urls: true` in config.yaml opens such addresses"
                )
            }
            Self::Never(what) => format!("{ip} is {what}, which is never asked"),
        }
    }
}

/// The host of a URL.
pub enum Host<'a> {
    /// A name.
    Name(&'a str),
    /// Written out.
    Address(IpAddr),
}

/// The host of a URL that was [allowed](is_allowed). The parser has made every odd spelling of an address (`0x7f.1`, `2130706433`) one.
pub fn of(url: &Url) -> Host<'_> {
    let text = url.host_str().unwrap_or_default();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_or(Host::Name(text), Host::Address)
}

/// Ports of other services that browsers refuse too: the list of the Fetch standard.
const PORTS: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Whether the form of a URL is one that is asked at all.
pub fn is_allowed(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http and https are read");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user name or a password in it is not asked");
    }
    if url.port().is_some_and(|port| PORTS.contains(&port) || port == 0) {
        return Err("its port is another service's");
    }
    Ok(())
}

/// Why a name is refused before anybody is asked for its addresses.
pub fn name_refusal(name: &str, allow_private: bool) -> Option<&'static str> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_under =
        |suffix: &str| name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    if ["metadata.google.internal", "metadata.goog"].into_iter().any(is_under) || name == "metadata" {
        return Some("it hands out credentials of this machine, and is never asked");
    }
    let is_local = ["localhost", "internal", "local", "home.arpa", "onion"].into_iter().any(is_under);
    (is_local && !allow_private).then_some(
        "it is a name of this machine or its networks; `security.allow_private_urls: true` opens them",
    )
}

/// What an address is.
pub fn judge(ip: IpAddr) -> Verdict {
    match ip {
        IpAddr::V4(ip) => judge_v4(ip),
        IpAddr::V6(ip) => judge_v6(ip),
    }
}

/// Blocks of IANA's special-purpose registry, and what each is.
const V4: &[([u8; 4], u32, Verdict)] = &[
    ([169, 254, 0, 0], 16, Verdict::Never("link-local, where clouds keep credentials")),
    ([100, 100, 100, 200], 32, Verdict::Never("a cloud's service for credentials")),
    ([168, 63, 129, 16], 32, Verdict::Never("a cloud's service for its machines")),
    ([192, 0, 0, 192], 32, Verdict::Never("a cloud's service for credentials")),
    ([0, 0, 0, 0], 8, Verdict::Private("this machine")),
    ([10, 0, 0, 0], 8, Verdict::Private("private")),
    ([100, 64, 0, 0], 10, Verdict::Private("shared by a provider's customers")),
    ([127, 0, 0, 0], 8, Verdict::Private("this machine")),
    ([172, 16, 0, 0], 12, Verdict::Private("private")),
    ([192, 0, 0, 0], 24, Verdict::Private("reserved")),
    ([192, 0, 2, 0], 24, Verdict::Private("for documentation")),
    ([192, 88, 99, 0], 24, Verdict::Private("a relay's")),
    ([192, 168, 0, 0], 16, Verdict::Private("private")),
    ([198, 18, 0, 0], 15, Verdict::Private("for measurements")),
    ([198, 51, 100, 0], 24, Verdict::Private("for documentation")),
    ([203, 0, 113, 0], 24, Verdict::Private("for documentation")),
    ([224, 0, 0, 0], 4, Verdict::Private("multicast")),
    ([240, 0, 0, 0], 4, Verdict::Private("reserved")),
];

fn judge_v4(ip: Ipv4Addr) -> Verdict {
    let found = V4.iter().find(|(block, length, _)| {
        let mask = u32::MAX << (32 - length);
        u32::from(ip) & mask == u32::from(Ipv4Addr::from(*block))
    });
    found.map_or(Verdict::Public, |(_, _, verdict)| *verdict)
}

/// The same; what is outside of `2000::/3` is private anyway.
const V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::LOCALHOST, 128, "this machine"),
    (Ipv6Addr::UNSPECIFIED, 128, "this machine"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved, or a tunnel's"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a tunnel's (6to4)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

fn judge_v6(ip: Ipv6Addr) -> Verdict {
    let segments = ip.segments();
    // fd00:ec2::254, of the same kind as 169.254.169.254.
    if segments[..2] == [0xfd00, 0xec2] {
        return Verdict::Never("a cloud's service for credentials");
    }
    // An IPv4 address in other clothes: mapped, compatible, translated (NAT64), tunnelled (6to4).
    let last = Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7]));
    let within = match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if (high, low) > (0, 1) => Some(last),
        [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, ..] => Some(last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    };
    if let Some(within) = within {
        return match judge_v4(within) {
            Verdict::Public => Verdict::Private("an IPv4 address in the clothes of an IPv6 one"),
            other => other,
        };
    }
    let bits = u128::from(ip);
    let found = V6.iter().find(|(block, length, _)| {
        let mask = u128::MAX << (128 - length);
        bits & mask == u128::from(*block) & mask
    });
    match found {
        Some((_, _, what)) => Verdict::Private(what),
        None if segments[0] & 0xe000 == 0x2000 => Verdict::Public,
        None => Verdict::Private("not of the public internet"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_is_public_and_who_is_not() {
        let is = |text: &str| judge(text.parse().unwrap());
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(is(public), Verdict::Public, "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "64:ff9b::10.0.0.1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(matches!(is(private), Verdict::Private(_)), "{private}: {:?}", is(private));
        }
        for never in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
        ] {
            assert!(matches!(is(never), Verdict::Never(_)), "{never}: {:?}", is(never));
        }
    }

    #[test]
    fn odd_spellings_are_seen_through_and_odd_forms_refused() {
        for loopback in [
            "http://0x7f.1/",
            "http://2130706433",
            "http://127.1",
            "http://0177.0.0.1",
            "http://[::ffff:7f00:1]",
            "http://１２７.0.0.1",
        ] {
            let url = Url::parse(loopback).unwrap();
            let Host::Address(ip) = of(&url) else { panic!("{loopback} is a name") };
            assert!(matches!(judge(ip), Verdict::Private(_)), "{loopback}");
        }
        let form = |text: &str| is_allowed(&Url::parse(text).unwrap()).is_ok();
        assert!(form("https://example.org:8443/x") && form("http://example.org"));
        for refused in [
            "file:///etc/passwd",
            "ftp://a/b",
            "gopher://a",
            "data:text/plain,x",
            "http://u@a/",
            "http://u:p@a/",
            "http://a:25/",
            "http://a:6379000",
            "http://a:0/",
        ] {
            let refuses = Url::parse(refused).map_or(true, |url| is_allowed(&url).is_err());
            assert!(refuses, "{refused}");
        }
        assert!(name_refusal("Metadata.Google.Internal.", true).is_some());
        assert!(name_refusal("a.localhost", false).is_some() && name_refusal("a.localhost", true).is_none());
        assert!(name_refusal("localhost.example.org", false).is_none());
    }

    proptest! {
        /// Whatever clothes an IPv4 address wears, it is not let through where it is not by itself.
        #[test]
        fn clothes_change_nothing(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for ip in [v4.to_ipv6_mapped(), Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low), Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)] {
                prop_assert_ne!(judge(ip.into()), Verdict::Public);
                if let never @ Verdict::Never(_) = judge(v4.into()) {
                    prop_assert_eq!(judge(ip.into()), never);
                }
            }
        }

        #[test]
        fn any_address_is_judged(bits: u128) {
            let ip = Ipv6Addr::from(bits);
            if judge(ip.into()) == Verdict::Public {
                prop_assert_eq!(ip.segments()[0] & 0xe000, 0x2000);
            }
        }
    }
}
