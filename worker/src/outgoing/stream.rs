//! A stream to a service that speaks neither HTTP nor WebSocket: dialled and encrypted with the same trust and the same time as every request.
//!
//! Proxies are HTTP's, and not asked: what goes here goes straight.

use std::sync::Arc;

use hermes_config::is_loopback;
use hermes_config::network::Network;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{BuildError, CONNECT_TIMEOUT, innermost, tls};

/// Both ways of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + std::fmt::Debug + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Unpin + Send + Sync> Duplex for T {}

/// A connection, encrypted or not.
pub(crate) type Stream = Box<dyn Duplex>;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconnected {
    /// It cannot be made, ever.
    #[error(transparent)]
    Unusable(#[from] BuildError),
    /// The host is none, or nothing goes there in plain text.
    #[error("{0}")]
    Address(&'static str),
    /// Not reached, or whoever answers is not believed.
    #[error("`{host}:{port}` is not reached: {why}")]
    Unreached {
        /// Whom.
        host: String,
        /// Where.
        port: u16,
        /// For people.
        why: String,
    },
}

fn unreached(host: &str, port: u16, why: impl Into<String>) -> Unconnected {
    Unconnected::Unreached { host: host.to_owned(), port, why: why.into() }
}

/// A host without what sets an address of version 6 apart from its port.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// Connects to a port of a host. Without TLS only to this machine.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    with_tls: bool,
    network: &Network,
) -> Result<Stream, Unconnected> {
    if !with_tls && !is_loopback(host) {
        return Err(Unconnected::Address("only this machine is spoken to without TLS"));
    }
    let stream = dial(host, port).await?;
    if with_tls { encrypt(stream, host, port, network).await } else { Ok(stream) }
}

/// Dials, without TLS: what is said there is what may be said in the clear.
pub(crate) async fn dial(host: &str, port: u16) -> Result<Stream, Unconnected> {
    let late = || unreached(host, port, "no answer in time");
    let lost = |error: std::io::Error| unreached(host, port, innermost(&error));
    let dialled = timeout(CONNECT_TIMEOUT, TcpStream::connect((bare(host), port)));
    let stream = dialled.await.map_err(|_| late())?.map_err(lost)?;
    // What is said is short, and waited for.
    stream.set_nodelay(true).map_err(lost)?;
    Ok(Box::new(stream))
}

/// Encrypts a connection, with whom it is with.
pub(crate) async fn encrypt(
    stream: Stream,
    host: &str,
    port: u16,
    network: &Network,
) -> Result<Stream, Unconnected> {
    let mut config = tls(true, network, None)?;
    config.alpn_protocols.clear();
    let name = ServerName::try_from(bare(host).to_owned())
        .map_err(|_| Unconnected::Address("the server is no name of a host"))?;
    let shaken = timeout(CONNECT_TIMEOUT, TlsConnector::from(Arc::new(config)).connect(name, stream));
    let shaken = shaken.await.map_err(|_| unreached(host, port, "no TLS in time"))?;
    shaken
        .map(|stream| Box::new(stream) as Stream)
        .map_err(|error| unreached(host, port, format!("no TLS: {}", innermost(&error))))
}

#[cfg(test)]
mod tests {
    //! Against real TLS.

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::outgoing::secured::{LOCALHOST, acceptor};

    /// Connects to a server that answers each connection with one word; what came, or why nothing did.
    async fn word(with_tls: bool, trusted: Option<&str>) -> Result<String, String> {
        let acceptor = acceptor(LOCALHOST);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut plain, _) = listener.accept().await.unwrap();
            if with_tls {
                // Who does not believe it is gone.
                if let Ok(mut stream) = acceptor.accept(plain).await {
                    stream.write_all(b"secret").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            } else {
                plain.write_all(b"plain").await.unwrap();
            }
        };
        let named = trusted.map(|path| ("SSL_CERT_FILE".to_owned(), path.to_owned()));
        let network = Network::default().over(named.as_slice());
        let dial = async {
            let mut stream =
                connect("localhost", port, with_tls, &network).await.map_err(|e| e.to_string())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map_err(|e| e.to_string())?;
            Ok(text)
        };
        tokio::join!(dial, serve).0
    }

    #[tokio::test]
    async fn who_is_believed_is_spoken_to_and_nobody_else() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ca.pem");
        fs_err::write(&path, LOCALHOST).unwrap();
        assert_eq!(word(true, path.to_str()).await.as_deref(), Ok("secret"));
        let refused = word(true, None).await.unwrap_err();
        assert!(refused.contains(" is not reached: no TLS: "), "{refused}");
        assert_eq!(word(false, None).await.as_deref(), Ok("plain"));
        let network = Network::default();
        for (host, with_tls) in [("irc.example", false), ("10.0.0.1", false)] {
            let refused = connect(host, 1, with_tls, &network).await.err().unwrap();
            assert!(matches!(refused, Unconnected::Address(_)), "{host}: {refused}");
        }
    }
}
