//! Clients that take what others need, for tests and the benchmark. Each attack runs on one thread until it is dropped.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{http, wait};

/// An attack that goes on.
pub struct Attack {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    fn start(threads: usize, each: impl Fn(&AtomicBool, &AtomicU64) + Send + Sync + 'static) -> Self {
        let (stop, rounds, each) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::new(each));
        let threads = (0..threads)
            .map(|_| {
                let (stop, rounds, each) = (Arc::clone(&stop), Arc::clone(&rounds), Arc::clone(&each));
                std::thread::spawn(move || each(&stop, &rounds))
            })
            .collect();
        Self { stop, rounds, threads }
    }

    /// How often it has done what it does: connected again, sent another body.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// So many connections say their piece between two rests.
const STEP: usize = 10;

/// Keeps `count` connections that say `opening` and then a piece after the other, for ever, one in each `pause`, as clients do that
/// know nothing of each other: not all at once. One that is closed is opened again. Returns once all have said their opening.
pub fn trickle(address: &str, count: usize, opening: &[u8], pieces: &[&[u8]], pause: Duration) -> Attack {
    let (address, opening) = (address.to_owned(), opening.to_vec());
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let attack = Attack::start(1, move |stop, rounds| {
        let open = || -> Option<TcpStream> {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(&opening).ok()?;
            stream.set_nonblocking(true).ok()?;
            rounds.fetch_add(1, Ordering::Relaxed);
            Some(stream)
        };
        let mut all: Vec<Option<TcpStream>> = (0..count).map(|_| open()).collect();
        let rest = pause * u32::try_from(STEP).unwrap_or(1) / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        for piece in pieces.iter().cycle() {
            for (at, slot) in all.iter_mut().enumerate() {
                if at % STEP == 0 {
                    wait::pass(rest);
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let lives = slot.as_mut().is_some_and(|stream| {
                    let mut byte = [0; 512];
                    // An answer is the end of it, too.
                    let quiet =
                        stream.read(&mut byte).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
                    quiet && stream.write_all(piece).is_ok()
                });
                if !lives {
                    *slot = open();
                }
            }
        }
    });
    wait::until_true("the attack to begin", || attack.rounds() >= count as u64);
    attack
}

/// `clients` post `bytes` to `path` as fast as they can, again and again.
pub fn post(address: &str, clients: usize, path: &str, bytes: usize) -> Attack {
    let (address, path) = (address.to_owned(), path.to_owned());
    let attack = Attack::start(clients, move |stop, rounds| {
        let piece = vec![b'x'; 64 * 1024];
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(&address) else { continue };
            let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n");
            let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
            let mut left = if stream.write_all(head.as_bytes()).is_ok() { bytes } else { 0 };
            while left > 0 && !stop.load(Ordering::Relaxed) {
                match stream.write(&piece[..left.min(piece.len())]) {
                    Ok(n) if n > 0 => left -= n,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    _ => break,
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    wait::until_true("the attack to begin", || attack.rounds() > 0);
    attack
}

/// `clients` send a request with a body of `bytes` and read the answer, again and again on one connection for as long as it is kept.
pub fn kept(address: &str, clients: usize, path: &str, bytes: usize) -> Attack {
    let (address, request) = (address.to_owned(), http::encode("POST", path, &[], &vec![b'x'; bytes]));
    let attack = Attack::start(clients, move |stop, rounds| {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut connection) = http::Connection::open(&address) else { continue };
            while !stop.load(Ordering::Relaxed)
                && connection.send(&request).is_ok()
                && connection.response(false).is_ok_and(|answer| answer.header("connection") != Some("close"))
            {
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    wait::until_true("the attack to begin", || attack.rounds() > 0);
    attack
}

/// `count` connections that say nothing at all.
pub fn silent(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count).filter_map(|_| TcpStream::connect(address).ok()).collect()
}
