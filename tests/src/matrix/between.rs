//! Something between a client and a homeserver: requests go through, and are answered as they would be, but for those that are to fail.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::serving::{listen, lock};
use crate::wait;

/// How a request fails.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is answered so, and does not go through.
    Answer(u16, String),
    /// It does not go through, and is not answered.
    Stall,
    /// It goes through, and is not answered: the connection breaks.
    Cut,
    /// It goes through: the next rule is for what comes behind it.
    Pass,
}

impl Fault {
    /// An error in the words of Matrix; `more` begins with a comma.
    pub fn error(status: u16, code: &str, more: &str) -> Self {
        Self::Answer(status, format!(r#"{{"errcode":"{code}","error":"as asked for"{more}}}"#))
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its path, with its query.
    pub path: String,
    /// Its body, where it is text.
    pub body: String,
    /// When.
    pub at: Instant,
}

struct Rule {
    part: String,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    stop: AtomicBool,
}

/// See the module.
pub struct Between {
    address: String,
    shared: Arc<Shared>,
}

impl Between {
    /// Starts one in front of `server`.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (shared, server) = (Arc::new(Shared::default()), server.to_owned());
        listen(
            listener,
            &shared,
            |shared| shared.stop.load(Ordering::SeqCst),
            move |client, shared| serve(client, &server, shared),
        );
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next `times` requests whose method and path (`PUT /_matrix/…`) have `part` in them fail so.
    pub fn fail(&self, part: &str, times: usize, fault: Fault) {
        lock(&self.shared.rules).push(Rule { part: part.to_owned(), fault, left: times });
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        lock(&self.shared.rules).clear();
    }

    /// The requests so far whose method and path have `part` in them.
    pub fn requests(&self, part: &str) -> Vec<Request> {
        let is_of_it = |request: &&Request| format!("{} {}", request.method, request.path).contains(part);
        lock(&self.shared.requests).iter().filter(is_of_it).cloned().collect()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut client: TcpStream, server: &str, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some((request, headers, body)) = read(&mut client, &mut buffer)? else { return Ok(()) };
        lock(&shared.requests).push(request.clone());
        let line = format!("{} {}", request.method, request.path);
        let fault = {
            let mut rules = lock(&shared.rules);
            let rule = rules.iter_mut().find(|rule| rule.left > 0 && line.contains(&rule.part));
            rule.map(|rule| {
                rule.left -= 1;
                rule.fault.clone()
            })
        };
        match fault {
            Some(Fault::Answer(status, body)) => {
                answer(
                    &mut client,
                    status,
                    &[("content-type".to_owned(), "application/json".to_owned())],
                    body.as_bytes(),
                )?;
                continue;
            }
            Some(Fault::Stall) => {
                // Until who asked gives up.
                let _ = client.read(&mut [0]);
                return Ok(());
            }
            Some(Fault::Cut | Fault::Pass) | None => {}
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut through = Connection::open(server)?;
        // Longer than anybody polls.
        through.stream().set_read_timeout(Some(Duration::from_secs(60)))?;
        let answered = through.request(&request.method, &request.path, &headers, &body)?;
        if matches!(fault, Some(Fault::Cut)) {
            return client.shutdown(Shutdown::Both);
        }
        answer(&mut client, answered.status, &answered.headers, &answered.body)?;
    }
}

type Whole = (Request, Vec<(String, String)>, Vec<u8>);

/// The next request; `None`: there is none.
fn read(client: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Whole>> {
    let mut piece = [0; 16 * 1024];
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(head) = parsed.parse(buffer).map_err(std::io::Error::other)? {
            let named = |name: &str| {
                let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                found.map(|header| String::from_utf8_lossy(header.value).into_owned())
            };
            let length: usize = named("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if buffer.len() >= head + length {
                let kept = ["authorization", "content-type"];
                let headers =
                    kept.iter().filter_map(|name| Some(((*name).to_owned(), named(name)?))).collect();
                let body = buffer[head..head + length].to_vec();
                let request = Request {
                    method: parsed.method.unwrap().to_owned(),
                    path: parsed.path.unwrap().to_owned(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                    at: wait::now(),
                };
                buffer.drain(..head + length);
                return Ok(Some((request, headers, body)));
            }
        }
        let n = client.read(&mut piece)?;
        if n == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&piece[..n]);
    }
}

fn answer(
    client: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let left_out = ["content-length", "transfer-encoding", "connection"];
    let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers.iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    client.write_all(&[head.as_bytes(), body].concat())
}
