//! Which paths belong to which platform, and which platforms a listener is for.
//!
//! The primary's report says it once, at the start: what platforms there are is a fact of the program that all workers run. A listener
//! then keeps a bit for each, which connections see change with their next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use hermes_wire::http;
use hermes_wire::latest::Family;

/// Most of them: as many as a report may have, and bits.
const MOST: usize = u16::BITS as usize;

/// All platforms that listeners are for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Families(Arc<[Family]>);

/// Those of one listener.
#[derive(Debug)]
pub(super) struct Chosen {
    all: Families,
    bits: AtomicU16,
}

/// Those of one listener, at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'a> {
    all: &'a [Family],
    bits: u16,
}

/// The line of a request's head that tells a worker which platforms the listener is for, in pieces.
pub(super) type Line<'a> = [&'a [u8]; 2 * MOST + 1];

impl Families {
    /// As reported.
    pub fn new(all: Vec<Family>) -> Self {
        Self(all.into_iter().take(MOST).collect())
    }

    /// Those of `platforms`.
    pub(super) fn choose(&self, platforms: &[String]) -> Chosen {
        Chosen { bits: AtomicU16::new(self.bits(platforms)), all: self.clone() }
    }

    fn bits(&self, platforms: &[String]) -> u16 {
        let is_chosen = |family: &Family| u16::from(platforms.contains(&family.platform));
        self.0.iter().enumerate().fold(0, |bits, (n, family)| bits | is_chosen(family) << n)
    }
}

impl Chosen {
    /// From now on those of `platforms`.
    pub(super) fn set(&self, platforms: &[String]) {
        self.bits.store(self.all.bits(platforms), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Served<'_> {
        Served { all: &self.all.0, bits: self.bits.load(Ordering::Relaxed) }
    }
}

impl<'a> Served<'a> {
    fn iter(self) -> impl Iterator<Item = &'a Family> {
        let is_served = move |n: usize| self.bits & 1 << n != 0;
        self.all.iter().enumerate().filter(move |(n, _)| is_served(*n)).map(|(_, family)| family)
    }

    /// Whether a platform of the listener owns the path.
    pub(super) fn owns(self, path: &str) -> bool {
        // Everybody's, even where there is nobody.
        self.iter().any(|family| http::owns(&family.paths, path))
    }

    /// Whether no platform at all does, of this listener or another.
    pub(super) fn is_nobodys(self, path: &str) -> bool {
        !self.all.iter().any(|family| http::owns(&family.paths, path))
    }

    /// Whether the agent's API is among them.
    pub(super) fn has_api(self) -> bool {
        self.iter().any(|family| family.is_api)
    }

    /// The body of the gateway's `/health` there.
    pub(super) fn health(self) -> String {
        let names: Vec<_> = self.iter().map(|family| family.platform.as_str()).collect();
        http::health_of(&names, |name| self.iter().any(|family| family.is_api && family.platform == name))
    }

    /// See [`Line`].
    pub(super) fn line(self) -> Line<'a> {
        let mut line = [&b""[..]; 2 * MOST + 1];
        let mut between: &[u8] = b"x-hermes-listener: ";
        let mut end = 0;
        for family in self.iter() {
            (line[end], line[end + 1]) = (between, family.platform.as_bytes());
            (between, end) = (b",", end + 2);
        }
        if end > 0 {
            line[end] = b"\r\n";
        }
        line
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Webhooks and the API, of which a listener is for `platforms`.
    pub(in crate::proxy) fn chosen(platforms: &[&str]) -> Chosen {
        let family = |platform: &str, paths: &[&str], is_api| Family {
            platform: platform.into(),
            paths: names(paths),
            is_api,
        };
        let api = family("api_server", &["/v1/", "/api/", "/health/detailed"], true);
        let all = vec![family("webhook", &["/webhooks/"], false), api];
        Families::new(all).choose(&names(platforms))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_listener_is_for_what_was_configured_on_it_and_can_change() {
        let line = |chosen: &Chosen| String::from_utf8(chosen.now().line().concat()).unwrap();
        let one = chosen(&["api_server", "telegram"]);
        assert_eq!(line(&one), "x-hermes-listener: api_server\r\n");
        assert!(one.now().owns("/v1/models") && one.now().has_api());
        assert!(!one.now().owns("/webhooks/x") && !one.now().is_nobodys("/webhooks/x"));
        one.set(&names(&["webhook"]));
        assert_eq!(line(&one), "x-hermes-listener: webhook\r\n");
        assert!(one.now().owns("/webhooks/x") && !one.now().has_api() && one.now().is_nobodys("/x"));
        one.set(&names(&["api_server", "webhook"]));
        assert_eq!(line(&one), "x-hermes-listener: webhook,api_server\r\n");
        one.set(&[]);
        assert_eq!(line(&one), "");
        assert!(!one.now().owns("/health"));
    }

    #[test]
    fn more_platforms_than_there_are_bits_are_no_danger() {
        let family = |n| Family { platform: format!("p{n}"), paths: Vec::new(), is_api: false };
        let platforms: Vec<_> = (0..40).map(|n| format!("p{n}")).collect();
        let all = Families::new((0..40).map(family).collect()).choose(&platforms);
        let line = String::from_utf8(all.now().line().concat()).unwrap();
        assert_eq!(line.split(',').count(), MOST);
    }
}
