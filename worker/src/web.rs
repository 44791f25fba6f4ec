//! Pages of the web, read for a model: with an eye on where they are, and with bounds on everything.
//!
//! # Theory of operation
//!
//! [`Web::read`] takes one address. `address` judges where it may lead: http and https, no ports of other services, no user names; and
//! of the addresses that a name resolves to, those of the public internet only. A name is resolved once for a connection, and the
//! connection goes to what was judged: a name that answers differently the second time gains nothing. Redirects are followed here, each
//! judged anew. `body` reads at most so many bytes, unpacked as they come, and makes text of them; `markdown` makes HTML readable.
//!
//! **Guarantees.** Nothing of the profile travels along: no cookies, no keys, no user names, no address that was there before. Cloud
//! services that hand out credentials to whoever asks from inside are never asked, whatever the settings say.
//!
//! **Proxies.** Where the profile's `.env`, or the gateway's environment, names a proxy, requests go through it and it resolves names
//! itself. They are judged here before, as far as they can be resolved here; what the proxy makes of them is its own affair.

pub mod address;
mod body;
pub mod markdown;
mod names;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hermes_config::network::Network;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, Url};

use crate::outgoing;
use address::Verdict;
use names::{Judged, Names, System};

/// Most redirects for one address.
const REDIRECTS: usize = 10;
/// Time for one address, redirects and body included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest address, in bytes.
const LONGEST: usize = 8192;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it was in the end.
    pub url: String,
    /// What it calls itself.
    pub title: Option<String>,
    /// Its text; Markdown where it was HTML.
    pub text: String,
    /// It was longer than is read.
    pub is_cut: bool,
}

/// Why there is none; for the model. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unread(pub String);

fn unread<T>(why: impl Into<String>) -> Result<T, Unread> {
    Err(Unread(why.into()))
}

/// The web, as a profile sees it. Its clients are made when they are first used. Cloning shares them.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    network: Network,
    allow_private: bool,
    names: Arc<dyn Names>,
    /// By the proxy that they go through.
    clients: Mutex<HashMap<Option<String>, Client>>,
}

impl Web {
    /// For a profile. `allow_private`: `security.allow_private_urls`.
    pub fn new(network: Network, allow_private: bool) -> Self {
        Self::with_names(network, allow_private, Arc::new(System))
    }

    fn with_names(network: Network, allow_private: bool, names: Arc<dyn Names>) -> Self {
        Self(Arc::new(Inner { network, allow_private, names, clients: Mutex::default() }))
    }

    /// Reads what is at an address.
    pub async fn read(&self, url: &str) -> Result<Page, Unread> {
        let read = tokio::time::timeout(PATIENCE, self.follow(url)).await;
        read.unwrap_or_else(|_| unread(format!("it took longer than {} s", PATIENCE.as_secs())))
    }

    async fn follow(&self, url: &str) -> Result<Page, Unread> {
        let mut url = parse(url)?;
        for _ in 0..=REDIRECTS {
            let response = self.get(&url).await?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return page(url, response).await;
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let Some(to) = to else { return unread(format!("HTTP {status} without an address to go to")) };
            let mut next =
                url.join(to).map_err(|_| Unread(format!("HTTP {status} to what is no address")))?;
            if url.scheme() == "https" && next.scheme() == "http" {
                return unread(format!(
                    "it leads from https to http ({}); ask for that address if it is meant",
                    shown(&next)
                ));
            }
            address::is_allowed(&next)
                .map_err(|why| Unread(format!("it leads to {}: {why}", shown(&next))))?;
            next.set_fragment(None);
            url = next;
        }
        unread(format!("it leads on more than {REDIRECTS} times"))
    }

    async fn get(&self, url: &Url) -> Result<Response, Unread> {
        let client = self.client(url).await?;
        let request = client
            .get(url.clone())
            .header(
                ACCEPT,
                "text/html,application/xhtml+xml,text/plain;q=0.9,application/json;q=0.9,*/*;q=0.5",
            )
            .header(ACCEPT_ENCODING, "gzip");
        request.send().await.map_err(|error| {
            // What the library says may repeat the address; the innermost says what happened.
            Unread(format!(
                "{} cannot be reached: {}",
                url.host_str().unwrap_or_default(),
                outgoing::innermost(&error)
            ))
        })
    }

    /// The client for an address that may be asked; whether it may is decided here.
    async fn client(&self, url: &Url) -> Result<Client, Unread> {
        let refused = |why: &str| Unread(format!("{} is refused: {why}", url.host_str().unwrap_or_default()));
        let proxy = outgoing::proxy_to(url, &self.0.network).map_err(|error| Unread(error.to_string()))?;
        match address::of(url) {
            address::Host::Address(ip) => self.judge(ip).map_err(|why| refused(&why))?,
            address::Host::Name(name) => {
                if let Some(why) = address::name_refusal(name, self.0.allow_private) {
                    return Err(refused(why));
                }
                if proxy.is_some()
                    && let Ok(all) = self.0.names.resolve(name).await
                {
                    self.any_allowed(&all).map_err(|why| refused(&why))?;
                }
            }
        }
        let key = proxy.as_ref().map(|proxy| proxy.shown.clone());
        if let Some(client) = self.clients().get(&key) {
            return Ok(client.clone());
        }
        let mut builder =
            outgoing::builder(url, &self.0.network, None).map_err(|error| Unread(error.to_string()))?;
        if proxy.is_none() {
            builder = builder.dns_resolver(Arc::new(Judged {
                names: Arc::clone(&self.0.names),
                allow_private: self.0.allow_private,
            }));
        }
        let client = outgoing::build(builder).map_err(|error| Unread(error.to_string()))?;
        self.clients().insert(key, client.clone());
        Ok(client)
    }

    fn judge(&self, ip: IpAddr) -> Result<(), String> {
        match address::judge(ip) {
            Verdict::Public => Ok(()),
            Verdict::Private(_) if self.0.allow_private => Ok(()),
            verdict => Err(verdict.why(ip)),
        }
    }

    fn any_allowed(&self, all: &[IpAddr]) -> Result<(), String> {
        let mut why = "it has no address".to_owned();
        for ip in all {
            match self.judge(*ip) {
                Ok(()) => return Ok(()),
                Err(refused) => why = refused,
            }
        }
        Err(why)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<Option<String>, Client>> {
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &str) -> Result<Url, Unread> {
    let text = text.trim();
    if text.len() > LONGEST {
        return unread(format!("an address has at most {LONGEST} characters"));
    }
    // As people write it.
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&full).map_err(|error| Unread(format!("that is no address: {error}")))?;
    address::is_allowed(&url).map_err(|why| Unread(why.to_owned()))?;
    url.set_fragment(None);
    Ok(url)
}

/// An address without what may be long or secret.
fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

async fn page(url: Url, response: Response) -> Result<Page, Unread> {
    let status = response.status();
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    if !status.is_success() {
        return unread(format!("HTTP {status}"));
    }
    let bytes = body::read(response).await?;
    let body::Text { text, title, is_cut } = body::text(&kind, &bytes, &url)?;
    Ok(Page { url: url.into(), title, text, is_cut })
}
