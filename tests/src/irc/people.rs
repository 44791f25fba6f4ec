//! People: a small client of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;

use crate::wait;

/// Somebody who is connected.
pub struct Person {
    stream: TcpStream,
    heard: Arc<Mutex<Vec<String>>>,
    /// His nick.
    pub nick: String,
}

impl Person {
    /// Somebody without an account, in the channel of the tests.
    pub fn join(address: &str, nick: &str) -> Self {
        let person = Self::connect(address, nick, None);
        person.send("JOIN #hermes");
        person.wait("366");
        person
    }

    /// Somebody, perhaps logged in to an account with a password.
    pub fn connect(address: &str, nick: &str, account: Option<(&str, &str)>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (reading, mut answering) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in BufReader::new(reading).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if let Some(token) = line.strip_prefix("PING ") {
                    // Who is gone answers nobody.
                    let _ = write!(answering, "PONG {token}\r\n");
                }
                hearing.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let person = Self { stream, heard, nick: nick.to_owned() };
        if let Some((account, password)) = account {
            person.send("CAP REQ :sasl account-tag message-tags");
            person.send("AUTHENTICATE PLAIN");
            let text = format!("\0{account}\0{password}");
            person.send(&format!("AUTHENTICATE {}", base64::engine::general_purpose::STANDARD.encode(text)));
        }
        person.send(&format!("NICK {nick}"));
        person.send("USER person 0 * :A person");
        if account.is_some() {
            person.wait(" 903 ");
            person.send("CAP END");
        }
        person.wait(" 001 ");
        person
    }

    /// Says a line to the server.
    pub fn send(&self, line: &str) {
        (&self.stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Says something to a channel or to somebody.
    pub fn say(&self, target: &str, text: &str) {
        self.send(&format!("PRIVMSG {target} :{text}"));
    }

    /// Every line so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What somebody has said to a target, in order.
    pub fn said_by(&self, nick: &str, target: &str) -> Vec<String> {
        let said = |line: String| {
            let line = line
                .strip_prefix('@')
                .map_or(line.as_str(), |tagged| tagged.split_once(' ').unwrap().1)
                .to_owned();
            let (who, rest) = line.strip_prefix(':')?.split_once(" PRIVMSG ")?;
            let (to, text) = rest.split_once(" :").or_else(|| rest.split_once(' '))?;
            (who.split('!').next() == Some(nick) && to == target).then(|| text.to_owned())
        };
        self.heard().into_iter().filter_map(said).collect()
    }

    /// Waits for a line with this in it.
    pub fn wait(&self, what: &str) -> String {
        wait::until(&format!("`{what}` on IRC"), || self.heard().into_iter().find(|line| line.contains(what)))
    }

    /// Waits until somebody has said this.
    pub fn wait_said(&self, nick: &str, target: &str, text: &str) {
        wait::until_true(&format!("`{text}` of {nick} to {target}"), || {
            self.said_by(nick, target).iter().any(|said| said == text)
        });
    }

    /// Waits until somebody is in the channel of the tests.
    pub fn wait_there(&self, nick: &str) {
        wait::until_true(&format!("{nick} in #hermes"), || self.sees(nick));
    }

    /// Whether somebody is seen to be in it.
    pub fn sees(&self, nick: &str) -> bool {
        let mut is_there = false;
        for line in self.heard() {
            let who =
                line.strip_prefix(':').and_then(|line| line.split(['!', ' ']).next()).unwrap_or_default();
            let of = |command: &str| line.contains(&format!(" {command} "));
            if of("353") {
                let names = line.rsplit(':').next().unwrap_or_default();
                is_there |=
                    names.split(' ').any(|name| name.trim_start_matches(['@', '+', '~', '&', '%']) == nick);
            } else if of("KICK") && line.contains(&format!(" #hermes {nick} ")) {
                is_there = false;
            } else if of("NICK") && line.ends_with(&format!(" :{nick}")) {
                is_there = true;
            } else if who == nick {
                is_there = if of("JOIN") {
                    true
                } else if of("PART") || of("QUIT") || of("NICK") {
                    false
                } else {
                    is_there
                };
            }
        }
        is_there
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // The server may have closed it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
