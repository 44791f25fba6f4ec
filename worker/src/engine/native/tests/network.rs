//! Wires 4: whom a profile trusts and which way its requests go, against real TLS and a real proxy.
//!
//! The certificates were made by `openssl req -x509 -newkey … -nodes`, which marks them as an authority's unless told otherwise, and
//! `issued.pem` by `openssl x509 -req` with `authority.pem`; none but `expired.pem` ends before 2126.

use std::net::SocketAddr;

use base64::Engine as _;
use camino::Utf8PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::outgoing::secured::{LOCALHOST, acceptor};

/// Something in front of the fake provider; ended when dropped.
struct Front {
    address: SocketAddr,
    /// What was asked of it.
    seen: watch::Receiver<Vec<String>>,
    _tasks: JoinSet<()>,
}

fn behind(fake: &Fake) -> SocketAddr {
    fake.base_url.trim_start_matches("http://").trim_end_matches("/v1").parse().unwrap()
}

/// Speaks TLS with this certificate in front of `to`.
async fn tls(pem: &'static [u8], to: SocketAddr) -> Front {
    let acceptor = acceptor(pem);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    Front { address, seen: watch::channel(Vec::new()).1, _tasks: tasks }
}

/// A proxy that leads everything to `to`, for whoever knows this name and password.
async fn proxy(login: Option<&'static str>, to: SocketAddr) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, seen) = watch::channel(Vec::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        let asked = Arc::new(asked);
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            connections.spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                asked.send_modify(|all| all.push(text.lines().next().unwrap_or_default().to_owned()));
                let basic = login.map(|login| base64::engine::general_purpose::STANDARD.encode(login));
                let known = basic.is_none_or(|basic| {
                    text.to_lowercase()
                        .contains(&format!("proxy-authorization: basic {}", basic.to_lowercase()))
                });
                if !known {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                    let _ = stream.write_all(refusal).await;
                    return;
                }
                let mut on = TcpStream::connect(to).await.unwrap();
                if text.starts_with("CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                } else {
                    on.write_all(&head).await.unwrap();
                }
                let _ = copy_bidirectional(&mut stream, &mut on).await;
            });
        }
    });
    Front { address, seen, _tasks: tasks }
}

/// An engine of a profile with these variables in its `.env`, started by a gateway with those.
fn profile(base_url: &str, env: &[(&str, &str)], inherited: &[(&str, &str)]) -> Native {
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    config.model.provider = Some("custom".to_owned());
    config.model.base_url = Some(base_url.to_owned());
    config.model.api_key = Some(Secret::new(KEY));
    config.model.default = "m".to_owned();
    config.agent.api_max_retries = 1;
    config.env = env.iter().map(|(n, v)| ((*n).to_owned(), Secret::new(*v))).collect();
    let inherited: Vec<_> = inherited.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Native::from_config(&config, &ProfileHome::new("/h"), &inherited)
}

/// Answer or error of one turn.
async fn ask(engine: &Native) -> Result<String, EngineError> {
    run(engine).await.0.map(|outcome| outcome.text)
}

fn certificate(name: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/engine/native/tests/certificates").join(name)
}

const COMMON_NAME: &[u8] = include_bytes!("certificates/common-name.pem");
const NO_AUTHORITY: &[u8] = include_bytes!("certificates/no-authority.pem");
const OTHER_NAME: &[u8] = include_bytes!("certificates/other-name.pem");
const ISSUED: &[u8] = include_bytes!("certificates/issued.pem");
const EXPIRED: &[u8] = include_bytes!("certificates/expired.pem");

/// Wires 4: a certificate that `.env` names is trusted, whatever `openssl req -x509` made of it, and so is what it issued; its
/// dates and names count, and nobody else is trusted then.
#[tokio::test]
async fn w4_a_certificate_of_ones_own_is_trusted_as_curl_and_python_do() {
    let own = Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/engine/native/test-localhost.pem");
    for (served, named, refused) in [
        (LOCALHOST, own.clone(), None),
        (COMMON_NAME, certificate("common-name.pem"), None),
        (NO_AUTHORITY, certificate("no-authority.pem"), None),
        (ISSUED, certificate("authority.pem"), None),
        (ISSUED, certificate("issued.pem"), None),
        (OTHER_NAME, certificate("other-name.pem"), Some("not valid for name")),
        (EXPIRED, certificate("expired.pem"), Some("expired")),
        (LOCALHOST, certificate("common-name.pem"), Some("UnknownIssuer; a certificate of your own")),
        (COMMON_NAME, own.clone(), Some("UnknownIssuer")),
    ] {
        let fake = Fake::start([answer(&["ok"])]).await;
        let front = tls(served, behind(&fake)).await;
        let base_url = format!("https://localhost:{}/v1", front.address.port());
        for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
            let result = ask(&profile(&base_url, &[(variable, named.as_str())], &[])).await;
            match refused {
                None if variable == "SSL_CERT_FILE" => assert_eq!(result, Ok("ok".to_owned()), "{named}"),
                // The one answer is given: it got through.
                None => assert!(!result.unwrap_err().to_string().contains("no secure connection"), "{named}"),
                Some(why) => {
                    let error = result.unwrap_err();
                    assert_eq!(error.fault(), Some(Fault::Setup));
                    assert!(error.to_string().contains(why), "{named}: {error}");
                }
            }
        }
    }
}

/// Wires 4: what the gateway was started with holds where `.env` says nothing, and not where it does; a directory is as good.
#[tokio::test]
async fn w4_a_profiles_own_certificates_come_first() {
    let fake = Fake::start((0..3).map(|_| answer(&["ok"]))).await;
    let front = tls(NO_AUTHORITY, behind(&fake)).await;
    let base_url = format!("https://127.0.0.1:{}/v1", front.address.port());
    let (right, wrong) = (certificate("no-authority.pem"), certificate("authority.pem"));
    let file = |path: &'_ Utf8PathBuf| [("SSL_CERT_FILE", path.as_str().to_owned())];
    for (env, inherited, works) in [
        (vec![], file(&right).to_vec(), true),
        (file(&right).to_vec(), file(&wrong).to_vec(), true),
        (file(&wrong).to_vec(), file(&right).to_vec(), false),
        (vec![("SSL_CERT_DIR", right.parent().unwrap().to_string())], vec![], true),
        (vec![("SSL_CERT_FILE", String::new())], file(&right).to_vec(), false),
    ] {
        fn borrow<'a>(all: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
            all.iter().map(|(name, value)| (*name, value.as_str())).collect()
        }
        let engine = profile(&base_url, &borrow(&env), &borrow(&inherited));
        let result = ask(&engine).await;
        assert_eq!(result.is_ok(), works, "{env:?} {inherited:?}: {result:?}");
    }
}

/// Wires 4: a wrong file is named with its variable, and read again by the next turn.
#[tokio::test]
async fn w4_a_wrong_file_is_named_with_its_variable() {
    let fake = Fake::start([answer(&["ok"])]).await;
    let front = tls(NO_AUTHORITY, behind(&fake)).await;
    let base_url = format!("https://localhost:{}/v1", front.address.port());
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("ca.pem")).unwrap();
    let engine = profile(&base_url, &[("SSL_CERT_FILE", path.as_str())], &[]);
    let error = ask(&engine).await.unwrap_err();
    let said = format!("SSL_CERT_FILE (in the profile's `.env`): `{path}` cannot be read: No such file");
    assert!(error.to_string().contains(&said), "{error}");
    assert_eq!(error.fault(), Some(Fault::Setup));
    fs_err::copy(certificate("no-authority.pem"), &path).unwrap();
    assert_eq!(ask(&engine).await, Ok("ok".to_owned()));
    // Who speaks no TLS needs none.
    let plain = Fake::start([answer(&["plain"])]).await;
    let engine = profile(&plain.base_url, &[("SSL_CERT_FILE", "/nowhere")], &[]);
    assert_eq!(ask(&engine).await, Ok("plain".to_owned()));
}

/// Wires 4: the profile's proxy is used, with its password, for TLS and without; `NO_PROXY` holds; no error shows the password.
#[tokio::test]
async fn w4_a_profiles_proxy_is_used_and_its_password_is_never_shown() {
    let fake = Fake::start((0..5).map(|_| answer(&["ok"]))).await;
    let front = tls(NO_AUTHORITY, behind(&fake)).await;
    let (secure, plain) =
        (proxy(Some("me:p@ss word"), front.address).await, proxy(Some("me:p@ss word"), behind(&fake)).await);
    let trusted = certificate("no-authority.pem");
    let trust = ("SSL_CERT_FILE", trusted.as_str());
    let to = |front: &Front, login: &str| format!("http://{login}{}", front.address);

    // A name that only the proxy knows.
    let good = to(&secure, "me:p%40ss%20word@");
    let far = "https://provider.test/v1";
    assert_eq!(ask(&profile(far, &[trust, ("HTTPS_PROXY", &good)], &[])).await, Ok("ok".to_owned()));
    assert_eq!(secure.seen.borrow().as_slice(), ["CONNECT provider.test:443 HTTP/1.1"]);
    let good = to(&plain, "me:p%40ss%20word@");
    assert_eq!(
        ask(&profile("http://provider.test/v1", &[("all_proxy", &good)], &[])).await,
        Ok("ok".to_owned())
    );
    assert_eq!(plain.seen.borrow().as_slice(), ["POST http://provider.test/v1/chat/completions HTTP/1.1"]);

    // This machine's own addresses: where the profile says so, and not because the gateway's environment does.
    let near = fake.base_url.as_str();
    assert!(ask(&profile(near, &[("HTTP_PROXY", &good)], &[])).await.is_ok());
    assert_eq!(plain.seen.borrow().len(), 2);
    assert!(ask(&profile(near, &[], &[("HTTP_PROXY", &good)])).await.is_ok());
    for list in ["127.0.0.1", "localhost, 127.0.0.0/8", "x *", &format!("[::1] {}", behind(&fake))] {
        let fresh = Fake::start([answer(&["ok"])]).await;
        let list = list.replace(&behind(&fake).to_string(), &behind(&fresh).to_string());
        let engine = profile(&fresh.base_url, &[("HTTP_PROXY", &good), ("NO_PROXY", &list)], &[]);
        assert!(ask(&engine).await.is_ok(), "{list}");
    }
    assert_eq!(plain.seen.borrow().len(), 2, "nobody else came by");

    let wrong = |front: &Front| to(front, "me:hunter2-wrong@");
    for (base_url, variable, front) in
        [(far, "https_proxy", &secure), ("http://provider.test/v1", "http_proxy", &plain)]
    {
        let error = ask(&profile(base_url, &[trust, (variable, &wrong(front))], &[])).await.unwrap_err();
        let text = error.to_string();
        let said = format!(
            "the proxy `http://{}` wants another name and password than those that stand before the host in {variable}",
            front.address
        );
        assert!(text.contains(&said) && !text.contains("hunter2"), "{text}");
        assert!(
            error.fault().is_some_and(|fault| fault.again() == crate::provider::fault::Again::Never),
            "{text}"
        );
    }
    let gone = proxy(None, front.address).await.address;
    let env = [trust, ("HTTPS_PROXY", &*format!("http://me:hunter2-wrong@{gone}"))];
    let text = ask(&profile(far, &env, &[])).await.unwrap_err().to_string();
    let said = format!(
        "cannot connect to `https://provider.test/v1` through the proxy `http://{gone}` of `HTTPS_PROXY`: "
    );
    assert!(text.contains(&said) && !text.contains("hunter2"), "{text}");
    let text = ask(&profile(far, &[("HTTPS_PROXY", "ftp://me:hunter2-wrong@h")], &[]))
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("HTTPS_PROXY names no proxy: its scheme") && !text.contains("hunter2"), "{text}");
}
