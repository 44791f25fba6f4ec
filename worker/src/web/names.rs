//! Who has which addresses: the system is asked, and of its answer only what may be connected to is passed on.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{self, Verdict};

/// The addresses of a name, when they are known.
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Resolves names.
pub(super) trait Names: Send + Sync {
    /// The addresses of `name`, as whoever knows them says now.
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a>;
}

/// What the system says.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Names for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// The resolver of a client: it connects to what comes from here and to nothing else.
pub(super) struct Judged {
    pub(super) names: Arc<dyn Names>,
    pub(super) allow_private: bool,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, allow_private) = (Arc::clone(&self.names), self.allow_private);
        Box::pin(async move {
            let all = names.resolve(name.as_str()).await?;
            let mut refused = None;
            let mut allowed: Vec<SocketAddr> = Vec::new();
            for ip in all {
                match address::judge(ip) {
                    Verdict::Public => allowed.push((ip, 0).into()),
                    Verdict::Private(_) if allow_private => allowed.push((ip, 0).into()),
                    verdict => refused = Some(verdict.why(ip)),
                }
            }
            if allowed.is_empty() {
                let why = refused.unwrap_or_else(|| "it has no address".to_owned());
                return Err(std::io::Error::other(format!("it is refused: {why}")).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
