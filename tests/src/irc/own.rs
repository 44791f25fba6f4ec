//! The tests' own server: what ngIRCd has not (accounts, message tags), and what a server does when something is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;

use super::real::env;
use crate::serving::{listen, lock};

/// How it is set up.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Capabilities that it offers.
    pub offers: &'static str,
    /// Accounts and their passwords.
    pub accounts: BTreeMap<String, String>,
    /// It lists them in two lines, as servers with many do.
    pub lists_in_two: bool,
    /// Longest nick.
    pub longest_nick: usize,
    /// It closes every connection with these words instead of a welcome.
    pub refuses: Option<&'static str>,
}

impl Default for Rules {
    fn default() -> Self {
        let accounts = [("hermes", "correct horse"), ("ann", "ann's")];
        Self {
            offers: "account-tag message-tags multi-prefix sasl=PLAIN,EXTERNAL",
            accounts: accounts.map(|(name, password)| (name.to_owned(), password.to_owned())).into(),
            lists_in_two: true,
            longest_nick: 30,
            refuses: None,
        }
    }
}

struct User {
    nick: String,
    account: Option<String>,
    caps: BTreeSet<String>,
    is_asking: bool,
    is_named: bool,
    is_welcome: bool,
    stream: TcpStream,
}

#[derive(Default)]
struct State {
    users: BTreeMap<u64, User>,
    channel: BTreeSet<u64>,
    /// Nick and line of everything that clients have said.
    said: Vec<(String, String)>,
    rules: Rules,
    next: u64,
    messages: u64,
    /// Each message is delivered so often.
    copies: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A running server.
pub struct Ircd {
    /// Where it listens.
    pub address: String,
    shared: Arc<Shared>,
}

impl Default for Ircd {
    fn default() -> Self {
        Self::start(Rules::default())
    }
}

impl Ircd {
    /// Starts one.
    pub fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        (lock(&shared.state).rules, lock(&shared.state).copies) = (rules, 1);
        listen(
            listener,
            &shared,
            |shared| shared.stop.load(Ordering::SeqCst),
            |stream, shared| serve(stream, shared),
        );
        Self { address, shared }
    }

    /// `.env` lines for a bot on it.
    pub fn env(&self) -> String {
        env(&self.address)
    }

    /// Every message comes twice.
    pub fn repeat(&self) {
        lock(&self.shared.state).copies = 2;
    }

    /// The next connections are refused like that, or not any more.
    pub fn refuse(&self, words: Option<&'static str>) {
        lock(&self.shared.state).rules.refuses = words;
    }

    /// Closes the connection of a nick with these words.
    pub fn close(&self, nick: &str, words: &str) {
        let mut state = lock(&self.shared.state);
        for user in state.users.values_mut().filter(|user| user.nick == nick) {
            // It may be gone already.
            let _ = write!(user.stream, "{words}\r\n");
            let _ = user.stream.shutdown(Shutdown::Both);
        }
    }

    /// Says a line to a nick, as it is.
    pub fn send(&self, nick: &str, line: &str) {
        let mut state = lock(&self.shared.state);
        for user in state.users.values_mut().filter(|user| user.nick == nick) {
            write!(user.stream, "{line}\r\n").unwrap();
        }
    }

    /// Everything that clients have said, with their nicks then.
    pub fn said(&self) -> Vec<(String, String)> {
        lock(&self.shared.state).said.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        lock(&self.shared.state).next
    }
}

impl Drop for Ircd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for user in lock(&self.shared.state).users.values() {
            let _ = user.stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let id = {
        let mut state = lock(&shared.state);
        state.next += 1;
        if let Some(words) = state.rules.refuses {
            // Who is gone does not read it.
            let _ = write!(stream, "{words}\r\n");
            let _ = stream.shutdown(Shutdown::Write);
        }
        let id = state.next;
        let user = User {
            nick: String::new(),
            account: None,
            caps: BTreeSet::new(),
            is_asking: false,
            is_named: false,
            is_welcome: false,
            stream: stream.try_clone().unwrap(),
        };
        state.users.insert(id, user);
        id
    };
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !lock(&shared.state).hear(id, &line) {
            break;
        }
    }
    lock(&shared.state).leave(id);
}

impl State {
    fn reply(&mut self, id: u64, line: &str) {
        if let Some(user) = self.users.get_mut(&id) {
            // Who is gone is seen where it is read.
            let _ = write!(user.stream, ":irc.test.example {line}\r\n");
        }
    }

    fn numeric(&mut self, id: u64, number: &str, rest: &str) {
        let nick = self.users.get(&id).map(|user| user.nick.clone()).unwrap_or_default();
        let nick = if nick.is_empty() { "*" } else { &nick };
        self.reply(id, &format!("{number} {nick} {rest}"));
    }

    fn mask(&self, id: u64) -> String {
        format!("{}!~user@127.0.0.1", self.users[&id].nick)
    }

    /// Says a line of somebody's to somebody, with what that one wants to know.
    fn tell(&mut self, to: u64, from: u64, line: &str, message: Option<u64>) {
        let (mask, account) = (self.mask(from), self.users[&from].account.clone());
        let Some(user) = self.users.get_mut(&to) else { return };
        let mut tags = Vec::new();
        if let Some(account) = account.filter(|_| user.caps.contains("account-tag")) {
            tags.push(format!("account={account}"));
        }
        if let Some(message) = message.filter(|_| user.caps.contains("message-tags")) {
            tags.push(format!("msgid=m{message}"));
        }
        let tags = if tags.is_empty() { String::new() } else { format!("@{} ", tags.join(";")) };
        let _ = write!(user.stream, "{tags}:{mask} {line}\r\n");
    }

    fn all(&mut self, from: u64, line: &str, and_self: bool) {
        for to in self.channel.clone() {
            if and_self || to != from {
                self.tell(to, from, line, None);
            }
        }
    }

    fn leave(&mut self, id: u64) {
        if self.users.get(&id).is_some_and(|user| user.is_welcome) {
            self.all(id, "QUIT :gone", false);
        }
        self.channel.remove(&id);
        self.users.remove(&id);
    }

    /// `false`: the client goes.
    fn hear(&mut self, id: u64, line: &str) -> bool {
        let Some(nick) = self.users.get(&id).map(|user| user.nick.clone()) else { return false };
        self.said.push((nick.clone(), line.to_owned()));
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, last) = match rest.split_once(" :") {
            Some((first, last)) => (first, last),
            None => (rest, rest.strip_prefix(':').unwrap_or(rest)),
        };
        match command.to_ascii_uppercase().as_str() {
            "CAP" => {
                let (what, names) = rest.split_once(' ').unwrap_or((rest, ""));
                self.capabilities(id, what, names.trim_start_matches(':'));
            }
            "AUTHENTICATE" if rest == "PLAIN" => {
                if let Some(user) = self.users.get_mut(&id) {
                    let _ = write!(user.stream, "AUTHENTICATE +\r\n");
                }
            }
            "AUTHENTICATE" => self.authenticate(id, rest),
            "NICK" => self.rename(id, last),
            "USER" => {
                self.users.get_mut(&id).unwrap().is_named = true;
                self.welcome(id);
            }
            "PING" => self.reply(id, &format!("PONG irc.test.example :{last}")),
            "JOIN" => {
                self.channel.insert(id);
                self.all(id, &format!("JOIN {last}"), true);
                let names: Vec<&str> = self.channel.iter().map(|id| self.users[id].nick.as_str()).collect();
                let names = names.join(" ");
                self.numeric(id, "353", &format!("= {last} :{names}"));
                self.numeric(id, "366", &format!("{last} :End of /NAMES list."));
            }
            "KICK" => {
                let who = first.split(' ').nth(1).unwrap_or_default().to_owned();
                self.all(id, &format!("KICK #hermes {who} :{last}"), true);
                let gone = self.users.iter().find(|(_, user)| user.nick == who).map(|(id, _)| *id);
                if let Some(gone) = gone {
                    self.channel.remove(&gone);
                }
            }
            "PRIVMSG" | "NOTICE" => self.message(id, &command.to_ascii_uppercase(), first, last),
            "WHOIS" => {
                self.numeric(id, "311", &format!("{last} ~user 127.0.0.1 * :A person"));
                self.numeric(id, "318", &format!("{last} :End of /WHOIS list"));
            }
            "QUIT" => return false,
            _ => {}
        }
        true
    }

    fn capabilities(&mut self, id: u64, what: &str, last: &str) {
        match what {
            "LS" => {
                self.users.get_mut(&id).unwrap().is_asking = true;
                let offers = self.rules.offers;
                if self.rules.lists_in_two {
                    self.reply(id, "CAP * LS * :away-notify chghost");
                }
                self.reply(id, &format!("CAP * LS :{offers}"));
            }
            "REQ" => {
                let offered: Vec<&str> =
                    self.rules.offers.split(' ').map(|cap| cap.split('=').next().unwrap()).collect();
                let is_offered = last.split(' ').all(|cap| offered.contains(&cap));
                let user = self.users.get_mut(&id).unwrap();
                user.is_asking = true;
                if is_offered {
                    user.caps.extend(last.split(' ').map(str::to_owned));
                }
                let answer = if is_offered { "ACK" } else { "NAK" };
                self.reply(id, &format!("CAP * {answer} :{last}"));
            }
            "END" => {
                self.users.get_mut(&id).unwrap().is_asking = false;
                self.welcome(id);
            }
            _ => {}
        }
    }

    fn authenticate(&mut self, id: u64, text: &str) {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded).into_owned();
        let parts: Vec<&str> = decoded.split('\0').collect();
        let is_right = matches!(parts[..], [_, name, password] if self.rules.accounts.get(name).is_some_and(|is| is == password));
        if is_right {
            self.users.get_mut(&id).unwrap().account = Some(parts[1].to_owned());
            self.numeric(id, "900", &format!("* {} :You are now logged in", parts[1]));
            self.numeric(id, "903", ":SASL authentication successful");
        } else {
            self.numeric(id, "904", ":SASL authentication failed");
        }
    }

    fn rename(&mut self, id: u64, nick: &str) {
        if nick.len() > self.rules.longest_nick {
            return self.numeric(id, "432", &format!("{nick} :Erroneous nickname"));
        }
        if self.users.iter().any(|(other, user)| *other != id && user.nick == nick) {
            return self.numeric(id, "433", &format!("{nick} :Nickname is already in use"));
        }
        if self.users[&id].is_welcome {
            let line = format!("NICK :{nick}");
            if !self.channel.contains(&id) {
                self.tell(id, id, &line, None);
            }
            self.all(id, &line, true);
        }
        nick.clone_into(&mut self.users.get_mut(&id).unwrap().nick);
        self.welcome(id);
    }

    fn welcome(&mut self, id: u64) {
        let user = self.users.get_mut(&id).unwrap();
        if user.is_welcome || user.is_asking || !user.is_named || user.nick.is_empty() {
            return;
        }
        user.is_welcome = true;
        let longest = self.rules.longest_nick;
        self.numeric(id, "001", ":Welcome");
        self.numeric(
            id,
            "005",
            &format!("NICKLEN={longest} CASEMAPPING=rfc1459 CHANTYPES=# :are supported by this server"),
        );
        self.numeric(id, "422", ":MOTD File is missing");
    }

    fn message(&mut self, id: u64, command: &str, target: &str, text: &str) {
        self.messages += 1;
        let (message, line) = (self.messages, format!("{command} {target} :{text}"));
        let to: Vec<u64> = if target.starts_with('#') {
            self.channel.iter().copied().filter(|other| *other != id).collect()
        } else {
            self.users.iter().filter(|(_, user)| user.nick == target).map(|(id, _)| *id).collect()
        };
        if to.is_empty() && target != "NickServ" && !target.starts_with('#') {
            return self.numeric(id, "401", &format!("{target} :No such nick/channel"));
        }
        for _ in 0..self.copies {
            for to in &to {
                self.tell(*to, id, &line, Some(message));
            }
        }
    }
}
