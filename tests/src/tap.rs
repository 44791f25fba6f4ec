//! A wire between a client and a server that shows what the client sent, and can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A running tap on loopback. Its connections end with their client or their server.
pub struct Tap {
    /// Where clients connect.
    pub address: String,
    sent: Arc<Mutex<Vec<u8>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Tap {
    /// Starts one in front of `server`.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (server, record, opened) = (server.to_owned(), Arc::clone(&sent), Arc::clone(&open));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(&server) else { return };
                let (to_client, to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let record = Arc::clone(&record);
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                // Those that have ended have no other side any more.
                opened.retain(|stream| stream.peer_addr().is_ok());
                opened.push(client.try_clone().unwrap());
                drop(opened);
                std::thread::spawn(move || {
                    copy(client, to_server, |bytes| {
                        record.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                    });
                });
                std::thread::spawn(move || copy(upstream, to_client, |_| {}));
            }
        });
        Self { address, sent, open }
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often clients sent `text`, requests and bodies alike.
    pub fn count(&self, text: &str) -> usize {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&sent).matches(text).count()
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, seen: impl Fn(&[u8])) {
    let mut piece = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut piece) {
        seen(&piece[..n]);
        if n == 0 || to.write_all(&piece[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
