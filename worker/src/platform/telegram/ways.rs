//! Other addresses of Telegram, for networks in which those that its name has lead nowhere.
//!
//! They stand behind the usual ones, so whoever reaches these never sees the others; only for a while after nobody was reached they stand
//! before them. Where the files name none, they are asked of public resolvers, and that only then. The certificate is that of Telegram's
//! name whatever the address: an address that is somebody else's gets no request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hermes_config::network::Network;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use super::settings::{NAME, Settings};
use crate::outgoing::{answer, to};

/// The name that is meant.
const HOST: &str = "api.telegram.org";
/// One that has served for years; tried where nothing else is known.
const SEED: IpAddr = IpAddr::V4(Ipv4Addr::new(149, 154, 167, 220));
/// Who is asked for others, by addresses that need no name.
const RESOLVERS: [&str; 2] = [
    "https://8.8.8.8/resolve?name=api.telegram.org&type=A",
    "https://1.1.1.1/dns-query?name=api.telegram.org&type=A",
];
/// Time for each of them, and for the system's own answer.
const TIME: Duration = Duration::from_secs(4);
/// Most that is read of an answer, in bytes, and addresses that are taken.
const BODY: usize = 64 * 1024;
const MOST: usize = 8;
/// For so long others are tried first after nobody was reached, and what was found is not asked again.
const OTHERWISE: Duration = Duration::from_mins(10);

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(super) struct Ways(Arc<Inner>);

struct Inner {
    host: String,
    /// Those of the files.
    own: Vec<IpAddr>,
    network: Network,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When nobody was reached last.
    failed: Option<Instant>,
    /// What the resolvers said, and when.
    found: Option<(Instant, Vec<IpAddr>)>,
}

impl Ways {
    /// What the settings say of it; none: there are no others.
    pub(super) fn of(settings: &Settings, network: &Network) -> Option<Self> {
        settings.fallback.as_ref().map(|own| Self::new(HOST, own, network))
    }

    /// Beside what the system says of `host`: `own`, or, where that is empty, what can be found.
    fn new(host: &str, own: &[IpAddr], network: &Network) -> Self {
        let inner = Inner {
            host: host.to_owned(),
            own: own.to_vec(),
            network: network.clone(),
            state: Mutex::default(),
        };
        Self(Arc::new(inner))
    }

    /// Nobody was reached.
    pub(super) fn failed(&self) {
        self.lock().failed = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_failed(&self) -> bool {
        self.lock().failed.is_some_and(|at| at.elapsed() < OTHERWISE)
    }

    /// All there are, the first that are to be tried first.
    async fn all(&self) -> Result<Vec<IpAddr>, String> {
        let usual = match timeout(TIME, lookup_host((self.0.host.as_str(), 0))).await {
            Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nobody says which addresses it has".to_owned()),
        };
        let is_needed = usual.is_err() || self.has_failed();
        let others = match (self.0.own.is_empty(), is_needed) {
            (false, _) => self.0.own.clone(),
            (true, true) => self.find().await,
            (true, false) => Vec::new(),
        };
        let usual = match usual {
            Ok(usual) => usual,
            Err(error) if others.is_empty() => return Err(error),
            Err(_) => Vec::new(),
        };
        Ok(order(usual, others, self.has_failed()))
    }

    /// What the resolvers say, or what they said lately; at least one.
    async fn find(&self) -> Vec<IpAddr> {
        let known = self.lock().found.clone();
        if let Some((_, found)) = known.filter(|(at, _)| at.elapsed() < OTHERWISE) {
            return found;
        }
        let mut found = Vec::new();
        for resolver in RESOLVERS {
            match ask(resolver, &self.0.network).await {
                Ok(some) => found.extend(some),
                Err(error) => tracing::debug!("[{NAME}] {resolver}: {error}"),
            }
        }
        found.push(SEED);
        let found = order(found, Vec::new(), false);
        tracing::info!("[{NAME}] Telegram is not reached by its name; it is tried at {found:?} too");
        self.lock().found = Some((Instant::now(), found.clone()));
        found
    }
}

impl Resolve for Ways {
    fn resolve(&self, name: Name) -> Resolving {
        let ways = self.clone();
        Box::pin(async move {
            let all = if name.as_str().eq_ignore_ascii_case(&ways.0.host) {
                ways.all().await?
            } else {
                // A proxy, which has ways of its own.
                lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect()
            };
            // The port is that of the request.
            let all: Addrs = Box::new(all.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(all)
        })
    }
}

/// In which order addresses are tried, each once.
fn order(usual: Vec<IpAddr>, others: Vec<IpAddr>, others_first: bool) -> Vec<IpAddr> {
    let (first, second) = if others_first { (others, usual) } else { (usual, others) };
    let mut all: Vec<IpAddr> = Vec::new();
    for address in first.into_iter().chain(second) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Asks a resolver that speaks JSON.
async fn ask(resolver: &str, network: &Network) -> Result<Vec<IpAddr>, String> {
    let url = Url::parse(resolver).map_err(|error| error.to_string())?;
    let client = to(&url, network, None).map_err(|error| error.to_string())?;
    let request = client.get(url).header("accept", "application/dns-json").timeout(TIME);
    let response = request.send().await.map_err(|error| error.without_url().to_string())?;
    let bytes = answer::body(response, BODY).await.map_err(|_| "the answer cannot be read".to_owned())?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(addresses(&answer))
}

/// The addresses of an answer that are of the open network.
fn addresses(answer: &Value) -> Vec<IpAddr> {
    let records = answer["Answer"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_names = records.iter().filter(|record| record["type"] == 1);
    let all = of_names.filter_map(|record| record["data"].as_str()?.trim().parse::<Ipv4Addr>().ok());
    let is_open = |ip: &Ipv4Addr| {
        !(ip.is_private()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.is_unspecified()
            || ip.is_broadcast()
            || ip.is_multicast()
            || ip.is_documentation())
    };
    all.filter(is_open).map(IpAddr::V4).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_resolvers_say_is_taken_where_it_is_an_address_of_the_open_network() {
        let answer = json!({"Status": 0, "Answer": [
            {"name": "api.telegram.org.", "type": 5, "data": "other.example."},
            {"type": 1, "data": "149.154.167.99"}, {"type": 1, "data": "127.0.0.1"}, {"type": 1, "data": "10.0.0.1"},
            {"type": 1, "data": 7}, {"type": 28, "data": "2001:67c:4e8:f004::9"}, "odd",
        ]});
        assert_eq!(addresses(&answer), [ip("149.154.167.99")]);
        for odd in [json!({}), json!([]), json!({"Answer": 7})] {
            assert!(addresses(&odd).is_empty());
        }
    }

    #[test]
    fn the_usual_addresses_come_first_unless_they_failed() {
        let (usual, others) = (vec![ip("1.1.1.1"), ip("2.2.2.2")], vec![ip("2.2.2.2"), ip("3.3.3.3")]);
        let all = |first| order(usual.clone(), others.clone(), first);
        assert_eq!(all(false), [ip("1.1.1.1"), ip("2.2.2.2"), ip("3.3.3.3")]);
        assert_eq!(all(true), [ip("2.2.2.2"), ip("3.3.3.3"), ip("1.1.1.1")]);
    }

    /// A name that nobody knows, and one whose own address answers nobody: both are reached by the address of the files.
    #[tokio::test]
    async fn who_is_not_reached_by_his_name_is_reached_by_another_address() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer).await;
            }
        });
        let network = Network::default();
        let get = async |host: &str, own: &[IpAddr]| {
            let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
            let ways = Ways::new(host, own, &network);
            let client = crate::outgoing::builder(&url, &network, None).unwrap();
            let client = crate::outgoing::build(client.dns_resolver(ways.clone())).unwrap();
            let answered = client.get(url).send().await.is_ok_and(|answer| answer.status() == 200);
            ways.failed();
            assert!(ways.has_failed());
            answered
        };
        assert!(get("telegram.invalid", &[ip("127.0.0.1")]).await);
        // Nobody listens at the usual address.
        assert!(get("telegram.invalid", &[ip("127.0.0.2"), ip("127.0.0.1")]).await);
        assert!(!get("telegram.invalid", &[ip("127.0.0.2")]).await);
    }
}
