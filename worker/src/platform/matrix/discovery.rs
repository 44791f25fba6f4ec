//! Where the homeserver is, of which only the server's name is known: the server says so (`/.well-known/matrix/client`).
//!
//! Nothing is guessed: who says nothing is not asked for anything else, and what is named has to be a homeserver. What is said over TLS may
//! name addresses with TLS alone; a server on this machine may name this machine's own addresses.

use std::time::Duration;

use hermes_config::network::Network;
use reqwest::Url;
use serde_json::Value;

use super::service::{Failure, Service, WELL_KNOWN, answered, body, elsewhere, may_follow};
use super::settings::{Homeserver, NAME, Settings};
use super::wire::{WELL_KNOWN as PATH, well_known};
use crate::outgoing::to;
use crate::platform::settings;

/// For programs: the server's word leads nowhere.
pub(super) const CODE: &str = "matrix_discovery";
/// Time for one answer, most that is read of it, in bytes, and most that send elsewhere.
const TIME: Duration = Duration::from_secs(20);
const BODY: usize = 64 * 1024;
const REDIRECTS: usize = 5;

/// The homeserver of the settings. Where they have its server's name alone, it is found out.
pub(super) async fn service(settings: &Settings, network: &Network) -> Result<Service, Failure> {
    if let Some(fault) = &settings.fault {
        return Err(Failure::Unusable { code: fault.code.clone(), reason: fault.message.clone() });
    }
    match &settings.homeserver {
        Homeserver::At(base) => Service::at(base.clone(), network),
        Homeserver::Of(server) => Service::at(discover(server, network).await?, network),
    }
}

/// Finds out where the homeserver of a server is.
async fn discover(server: &str, network: &Network) -> Result<Url, Failure> {
    let said = |why: &str| nowhere(server, why);
    let mut url = well_known(server).ok_or_else(|| said("that is no name of a server"))?;
    for _ in 0..=REDIRECTS {
        let client = to(&url, network, None).map_err(|error| Failure::Unusable {
            code: "matrix_client".to_owned(),
            reason: error.to_string(),
        })?;
        let response = match answered(WELL_KNOWN, client.get(url.clone()).timeout(TIME)).await {
            Ok(response) => response,
            Err(Failure::Refused { refusal, .. }) if (300..400).contains(&refusal.status) => {
                return Err(said("it sends elsewhere, without a place"));
            }
            Err(Failure::Refused { refusal, .. }) if refusal.status < 500 && refusal.status != 429 => {
                return Err(said(&format!("it answers {} at {PATH}", refusal.status)));
            }
            Err(failure) => return Err(failure),
        };
        match elsewhere(&url, &response) {
            Some(next) if may_follow(&url, &next) => url = next,
            Some(_) => return Err(said("it sends to an address without TLS")),
            None => {
                let bytes = body(WELL_KNOWN, response, BODY).await?;
                let base = named(&bytes, &url).map_err(said)?;
                return verified(server, base, network).await;
            }
        }
    }
    Err(said("it sends elsewhere without end"))
}

/// The homeserver that an answer names.
fn named(bytes: &[u8], from: &Url) -> Result<Url, &'static str> {
    let answer: Value = serde_json::from_slice(bytes).map_err(|_| "what it says is no JSON")?;
    let text = answer["m.homeserver"]["base_url"].as_str().ok_or("it names no homeserver")?;
    let base = settings::address(text.trim_end_matches('/')).filter(|base| may_follow(from, base));
    base.ok_or("what it names is no address that a token may go to")
}

/// It is a homeserver that is named.
async fn verified(server: &str, base: Url, network: &Network) -> Result<Url, Failure> {
    let origin = base.origin().ascii_serialization();
    match Service::at(base.clone(), network)?.versions().await {
        Ok(_) => {
            tracing::info!("[{NAME}] the homeserver of {server} is at {origin}");
            Ok(base)
        }
        Err(Failure::Garbled(_)) => {
            Err(nowhere(server, &format!("{origin}, which it names, is no homeserver")))
        }
        Err(Failure::Refused { refusal, .. }) if refusal.status < 500 && refusal.status != 429 => {
            let why = format!("{origin}, which it names, is no homeserver: it answers {}", refusal.status);
            Err(nowhere(server, &why))
        }
        Err(failure) => Err(failure),
    }
}

fn nowhere(server: &str, why: &str) -> Failure {
    Failure::Unusable {
        code: CODE.to_owned(),
        reason: format!(
            "where the homeserver of {server} is cannot be found out: {why}. Set MATRIX_HOMESERVER to its address, which Element shows below \
             Help & About"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_server_is_asked_by_its_name_and_over_tls_but_for_this_machine() {
        for (server, expected) in [
            ("hs.org", Some("https://hs.org/.well-known/matrix/client")),
            ("hs.org:8448", Some("https://hs.org:8448/.well-known/matrix/client")),
            ("127.0.0.1:9", Some("http://127.0.0.1:9/.well-known/matrix/client")),
            ("[::1]:9", Some("http://[::1]:9/.well-known/matrix/client")),
            ("10.0.0.1", Some("https://10.0.0.1/.well-known/matrix/client")),
            ("", None),
            ("a@hs.org", None),
            ("hs.org/x", None),
            ("hs.org:x", None),
            ("h s", None),
            ("hs.org?x", None),
        ] {
            assert_eq!(well_known(server).as_ref().map(Url::as_str), expected, "{server}");
        }
    }

    #[test]
    fn what_is_said_names_a_homeserver_that_a_token_may_go_to_or_none() {
        let (open, own) = (url("https://hs.org/x"), url("http://127.0.0.1:9/x"));
        let of = |from: &Url, base: &str| {
            let answer = serde_json::json!({"m.homeserver": {"base_url": base}, "m.identity_server": 7});
            named(answer.to_string().as_bytes(), from).map(|base| base.to_string()).ok()
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(of(&open, "https://matrix.hs.org"), is("https://matrix.hs.org/"));
        assert_eq!(of(&open, "https://matrix.hs.org/sub/"), is("https://matrix.hs.org/sub"));
        assert_eq!(of(&own, "http://127.0.0.1:8"), is("http://127.0.0.1:8/"));
        for odd in [
            "http://127.0.0.1:8",
            "http://matrix.hs.org",
            "ftp://hs.org",
            "matrix.hs.org",
            "https://hs.org/?x=1",
            "",
        ] {
            assert_eq!(of(&open, odd), None, "{odd}");
        }
        assert_eq!(of(&own, "http://10.0.0.1"), None);
        for odd in
            [&b"<html>"[..], b"{}", b"[]", br#"{"m.homeserver": 7}"#, br#"{"m.homeserver": {"base_url": 7}}"#]
        {
            assert!(named(odd, &open).is_err());
        }
    }
}
