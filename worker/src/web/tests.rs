//! Reading pages of real servers on this machine, by names that answer what a test wants.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hermes_config::Env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::names::Answer;
use super::*;

/// Answers each question with the next list; the last one stays.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>, AtomicUsize);

impl Names for Script {
    fn resolve<'a>(&'a self, _: &'a str) -> Answer<'a> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(std::future::ready(Ok(answer.unwrap_or_default())))
    }
}

/// Answers every request by its path, and counts them.
async fn server(
    answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, asked) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            connections.spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
                count.fetch_add(1, Ordering::Relaxed);
                let head = String::from_utf8(head).unwrap();
                for secret in ["authorization", "cookie", "referer"] {
                    assert!(!head.to_ascii_lowercase().contains(&format!("\r\n{secret}:")), "{head}");
                }
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                // Whoever has read enough hangs up.
                let _ = stream.write_all(&answer(&path)).await;
            });
        }
    });
    (address, asked, serving)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut all =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len())
            .into_bytes();
    all.extend_from_slice(body);
    all
}

fn web(allow_private: bool, names: &[&[&str]]) -> (Web, Arc<Script>) {
    let answers = names.iter().map(|all| all.iter().map(|ip| ip.parse().unwrap()).collect());
    let script = Arc::new(Script(Mutex::new(answers.collect()), AtomicUsize::new(0)));
    (Web::with_names(Network::of(&Env::default()), allow_private, script.clone()), script)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_page_is_read_over_redirects_and_unpacked() {
    let html = "Content-Type: text/html\r\n";
    let (address, _, _serving) = server(move |path| match path {
        "/go" => answer("302 Found", "Location: /then#x\r\n", b""),
        "/then" => answer(
            "200 OK",
            &format!("{html}Content-Encoding: gzip\r\n"),
            &gzip("<title>T</title><p>grüße <a href=go>x</a>".as_bytes()),
        ),
        "/pdf" => answer("200 OK", "Content-Type: application/pdf\r\n", b"%PDF"),
        "/big" => answer(
            "200 OK",
            "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n",
            &gzip(&vec![b'a'; 64 << 20]),
        ),
        "/br" => answer("200 OK", &format!("{html}Content-Encoding: br\r\n"), b"x"),
        "/loop" => answer("302 Found", "Location: /loop\r\n", b""),
        "/file" => answer("302 Found", "Location: file:///etc/passwd\r\n", b""),
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_vec(),
        _ => answer("404 Not Found", "", b"no"),
    })
    .await;
    let (web, _) = web(true, &[&["127.0.0.1"]]);
    let read = async |path: &str| web.read(&format!("http://site.example:{}{path}", address.port())).await;
    let page = read("/go").await.unwrap();
    assert_eq!(page.title.as_deref(), Some("T"));
    assert_eq!(page.text, format!("grüße [x](http://site.example:{}/go)", address.port()));
    assert_eq!(page.url, format!("http://site.example:{}/then", address.port()));
    let big = read("/big").await.unwrap();
    assert!(big.is_cut && big.text.len() == 5 << 20, "{}", big.text.len());
    for (path, why) in [
        ("/pdf", "it is `application/pdf`"),
        ("/br", "it is packed with `br`"),
        ("/loop", "it leads on more than 10 times"),
        ("/file", "it leads to file://: only http and https are read"),
        ("/nothing", "HTTP 404 Not Found"),
        ("/cut", "the answer broke off"),
    ] {
        let error = read(path).await.unwrap_err().0;
        assert!(error.starts_with(why), "{path}: {error}");
    }
}

/// A name is asked for once, and its answer is where the connection goes: what it says the second time is of no use to anybody.
#[tokio::test]
async fn addresses_of_this_machine_are_refused_however_they_are_come_by() {
    let (address, asked, _serving) =
        server(|_| answer("200 OK", "Content-Type: text/plain\r\n", b"inside")).await;
    let port = address.port();
    for (names, url) in [
        (&[&["127.0.0.1"][..]][..], format!("http://rebind.example:{port}/")),
        (&[&["10.0.0.1", "::1"]], format!("http://both.example:{port}/")),
        (&[&["::ffff:127.0.0.1"]], format!("http://mapped.example:{port}/")),
        (&[&["127.0.0.1"]], format!("http://127.0.0.1:{port}/")),
        (&[&["127.0.0.1"]], format!("http://2130706433:{port}/")),
        (&[&["127.0.0.1"]], format!("http://[::1]:{port}/")),
        (&[&["127.0.0.1"]], format!("http://localhost:{port}/")),
        (&[&["127.0.0.1"]], format!("http://a.internal:{port}/")),
        (&[&["169.254.169.254"]], "http://meta.example/latest/meta-data/".to_owned()),
        (&[&[]], "http://nothing.example/".to_owned()),
    ] {
        let (web, _) = web(false, names);
        let error = web.read(&url).await.unwrap_err().0;
        assert!(error.contains("refused"), "{url}: {error}");
    }
    // Of a mixed answer only the public part is connected to: here nobody answers there, and nothing private is tried instead.
    let (mixed, script) = web(false, &[&["192.0.2.1", "127.0.0.1"], &["127.0.0.1"]]);
    assert!(mixed.read(&format!("http://mixed.example:{port}/")).await.is_err());
    assert_eq!(script.1.load(Ordering::Relaxed), 1, "asked once for a connection");
    assert_eq!(asked.load(Ordering::Relaxed), 0, "the server was reached");
    // What hands out credentials stays closed where private addresses are open.
    let (open, _) = web(true, &[&["169.254.169.254"]]);
    for url in [
        "http://meta.example/",
        "http://169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://metadata.google.internal/",
    ] {
        let error = open.read(url).await.unwrap_err().0;
        assert!(error.contains("never asked"), "{url}: {error}");
    }
    assert_eq!(open.read(&format!("http://127.0.0.1:{port}/")).await.unwrap().text, "inside");
}

/// A redirect is judged like the first address.
#[tokio::test]
async fn no_redirect_leads_inside() {
    let (inside, asked, _inside) =
        server(|_| answer("200 OK", "Content-Type: text/plain\r\n", b"inside")).await;
    let to = format!("Location: http://127.0.0.1:{}/\r\n", inside.port());
    let (outside, _, _outside) = server(move |_| answer("302 Found", &to, b"")).await;
    // The first hop is let through by its name here, the second is written out.
    let script = Arc::new(Script(Mutex::new([vec![outside.ip()]].into()), AtomicUsize::new(0)));
    let web = Web::with_names(Network::of(&Env::default()), true, script);
    assert_eq!(web.read(&format!("http://x.example:{}/", outside.port())).await.unwrap().text, "inside");
    let strict = Web(Arc::new(Inner {
        network: Network::of(&Env::default()),
        allow_private: false,
        names: Arc::new(System),
        clients: Mutex::new([(None, web.clients().values().next().unwrap().clone())].into()),
    }));
    let error = strict.read(&format!("http://x.example:{}/", outside.port())).await.unwrap_err().0;
    assert!(error.contains("127.0.0.1 is this machine"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// Through a proxy it is the proxy that connects; what is written out, or resolves here, is judged all the same.
#[tokio::test]
async fn a_proxy_opens_nothing() {
    let (proxy, asked, _serving) =
        server(|path| answer("200 OK", "Content-Type: text/plain\r\n", path.as_bytes())).await;
    let inherited = [("http_proxy".to_owned(), format!("http://{proxy}"))];
    let network = Network::of(&Env::default()).over(&inherited);
    let script = Arc::new(Script(
        Mutex::new([vec!["10.0.0.1".parse().unwrap()], vec!["8.8.8.8".parse().unwrap()]].into()),
        AtomicUsize::new(0),
    ));
    let web = Web::with_names(network, false, script);
    assert!(web.read("http://169.254.169.254/").await.is_err());
    assert!(web.read("http://inside.example/").await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(web.read("http://outside.example/x").await.unwrap().text, "http://outside.example/x");
}
