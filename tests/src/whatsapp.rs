//! WhatsApp without WhatsApp, in two places where it can be cut: its [servers](Servers), to which our own bridge speaks by a stand-in for
//! Baileys (`tests/fixtures/whatsapp/baileys`), so that everything else of the bridge is as it is; and a whole [bridge](Bridge) as the Python program
//! has it, which forgets what it hands out, with every way in which one fails.

mod bridge;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::serving::{listen, lock};
use crate::{Home, wait};
pub use bridge::{Bridge, Way};

/// From a code on the screen to a telephone that has read it.
const SCANNED: std::time::Duration = std::time::Duration::from_millis(400);
/// Longer than any answer of a bot takes that is not to come.
pub const NEVER: Duration = Duration::from_millis(700);
/// The bot's number.
pub const ACCOUNT: &str = "4999999";

/// A message that a bot has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whose bot.
    pub account: String,
    /// Where.
    pub chat: String,
    /// Its name.
    pub id: String,
    /// All of it, as Baileys is told.
    pub content: Value,
    /// What it quotes.
    pub quoted: Option<String>,
    /// The bytes of its file, in base64.
    pub bytes: Option<String>,
}

impl Said {
    /// Its text.
    pub fn text(&self) -> String {
        self.content["text"].as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Default)]
struct Account {
    /// The one connection that counts, with its number.
    connection: Option<(u64, TcpStream)>,
    /// What no connection has confirmed.
    waiting: VecDeque<Value>,
    /// Connections that were there while another one came.
    replaced: u64,
    connections: u64,
    pids: Vec<u32>,
    environment: Vec<String>,
    arguments: Vec<String>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    said: Vec<Said>,
    typed: Vec<String>,
    read: Vec<String>,
    /// Answers to the next tries to send: a code and a text.
    refusals: VecDeque<(u64, String)>,
    /// The next message gets there, and nobody hears so.
    is_lost: bool,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    next: AtomicU64,
}

/// WhatsApp's servers.
pub struct Servers {
    shared: Arc<Shared>,
    port: u16,
}

impl Default for Servers {
    fn default() -> Self {
        Self::start()
    }
}

impl Servers {
    /// Starts them.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared: Arc<Shared> = Arc::default();
        listen(listener, &shared, |shared| lock(&shared.state).stop, |stream, shared| serve(&stream, shared));
        Self { shared, port }
    }

    /// Puts what npm would bring in place, with Baileys speaking to these.
    pub fn install(&self, home: &Home) {
        let modules = home.root().join("platforms/whatsapp/bridge/node_modules");
        let library = modules.join("@whiskeysockets/baileys");
        let terminal = modules.join("qrcode-terminal");
        for dir in [&library, &terminal] {
            fs_err::create_dir_all(dir).unwrap();
        }
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/whatsapp/baileys");
        for name in ["package.json", "index.js"] {
            fs_err::copy(format!("{fixtures}/{name}"), library.join(name)).unwrap();
        }
        fs_err::write(library.join("service.json"), json!({"port": self.port}).to_string()).unwrap();
        fs_err::write(terminal.join("package.json"), r#"{"name": "qrcode-terminal", "main": "index.js"}"#)
            .unwrap();
        let script = "exports.generate = (text, _, done) => done('[' + text + ']')\n";
        fs_err::write(terminal.join("index.js"), script).unwrap();
    }

    /// A home whose default profile is linked to [`ACCOUNT`]; `more` goes into its `.env`.
    pub fn house(&self, more: &str) -> Home {
        let home = Home::with_config(&Home::config("true", ""));
        self.install(&home);
        link(&home, "default", ACCOUNT);
        let env = home.read("default", ".env").unwrap();
        home.write("default", ".env", &format!("{env}WHATSAPP_ENABLED=true\n{more}"));
        home
    }

    /// Somebody writes to the bot; the message's name.
    pub fn say(&self, from: &str, text: &str) -> String {
        self.receive(
            ACCOUNT,
            json!({"remoteJid": format!("{from}@s.whatsapp.net")}),
            json!({"conversation": text}),
        )
    }

    /// Anybody writes anywhere: where, and what, as Baileys has it; the message's name.
    #[expect(clippy::needless_pass_by_value, reason = "callers write it on the spot")]
    pub fn receive(&self, account: &str, mut key: Value, content: Value) -> String {
        let n = self.shared.next.fetch_add(1, Ordering::SeqCst);
        let id = format!("3A{n:018}");
        key["id"] = id.as_str().into();
        let now = wait::system().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let message = json!({"key": key, "message": content, "pushName": "Ann", "messageTimestamp": now});
        self.offer(account, &id, message);
        id
    }

    /// The servers give a bridge this message, which has that name, once more or for the first time.
    #[expect(clippy::needless_pass_by_value, reason = "callers write it on the spot")]
    pub fn offer(&self, account: &str, id: &str, message: Value) {
        let mut state = lock(&self.shared.state);
        let account = state.accounts.entry(account.to_owned()).or_default();
        let line = json!({"op": "message", "n": id, "type": "notify", "message": message});
        if let Some((_, stream)) = &mut account.connection {
            // Who is gone is found by its end.
            let _ = writeln!(stream, "{line}");
        }
        account.waiting.push_back(line);
    }

    /// Ends the connection of an account with a code of Baileys.
    pub fn close(&self, account: &str, code: u64) {
        if let Some((_, stream)) =
            &mut lock(&self.shared.state).accounts.entry(account.to_owned()).or_default().connection
        {
            let _ = writeln!(stream, "{}", json!({"op": "close", "code": code, "text": "closed by a test"}));
        }
    }

    /// Takes no connection any more, and cuts those that there are.
    pub fn go_away(&self) {
        lock(&self.shared.state).stop = true;
        self.cut();
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for account in lock(&self.shared.state).accounts.values_mut() {
            if let Some((_, stream)) = account.connection.take() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// The next try to send is refused with a code of WhatsApp.
    pub fn refuse(&self, code: u64, text: &str) {
        lock(&self.shared.state).refusals.push_back((code, text.to_owned()));
    }

    /// The next message gets there, and the bridge does not hear so.
    pub fn lose_the_answer(&self) {
        lock(&self.shared.state).is_lost = true;
    }

    /// Waits until a bridge of an account is connected.
    pub fn wait_connected(&self, account: &str) -> u32 {
        wait::until("a bridge to be connected", || {
            let state = lock(&self.shared.state);
            let account = state.accounts.get(account)?;
            account.connection.as_ref()?;
            account.pids.last().copied()
        })
    }

    /// The processes of an account's bridges so far, in order.
    pub fn pids(&self, account: &str) -> Vec<u32> {
        lock(&self.shared.state).accounts.get(account).map(|account| account.pids.clone()).unwrap_or_default()
    }

    /// The arguments of the last bridge, and the names of the variables in its environment.
    pub fn surroundings(&self, account: &str) -> (Vec<String>, Vec<String>) {
        let state = lock(&self.shared.state);
        let account = &state.accounts[account];
        (account.arguments.clone(), account.environment.clone())
    }

    /// How often two bridges held one account at once.
    pub fn replaced(&self) -> u64 {
        lock(&self.shared.state).accounts.values().map(|account| account.replaced).sum()
    }

    /// Everything that bots have sent.
    pub fn said(&self) -> Vec<Said> {
        let all = lock(&self.shared.state).said.clone();
        // Signs at messages are none.
        all.into_iter().filter(|said| said.content.get("react").is_none()).collect()
    }

    /// Waits for a message.
    pub fn wait_said(&self, chat: &str, text: &str) -> Said {
        wait::until(&format!("`{text}` in {chat}"), || {
            self.said().into_iter().find(|said| said.chat == chat && said.text() == text)
        })
    }

    /// The chats in which somebody was seen to type.
    pub fn typed(&self) -> Vec<String> {
        lock(&self.shared.state).typed.clone()
    }

    /// The messages that were shown as read.
    pub fn read(&self) -> Vec<String> {
        lock(&self.shared.state).read.clone()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.go_away();
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Links a profile to an account.
pub fn link(home: &Home, profile: &str, account: &str) {
    let me = json!({"id": format!("{account}:1@s.whatsapp.net"), "lid": format!("7{account}:1@lid"), "name": "Bot"});
    home.write(
        profile,
        "platforms/whatsapp/session/creds.json",
        &json!({"me": me, "registered": true}).to_string(),
    );
}

/// Where a person's messages come from and go to.
pub fn chat(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let number = shared.next.fetch_add(1, Ordering::SeqCst);
    let mut of = String::new();
    let ended = speak(stream, shared, number, &mut of);
    // However it ended: a process that was killed with something unread leaves an error.
    let mut state = lock(&shared.state);
    if let Some(account) = state.accounts.get_mut(&of)
        && account.connection.as_ref().is_some_and(|(own, _)| *own == number)
    {
        account.connection = None;
    }
    ended
}

fn speak(stream: &TcpStream, shared: &Shared, number: u64, of: &mut String) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line: Value = serde_json::from_str(&line?).unwrap_or_default();
        let mut state = lock(&shared.state);
        let answer = |code: Option<u64>, text: &str| json!({"op": "answer", "ref": line["ref"], "code": code, "message": text, "id": null});
        match line["op"].as_str().unwrap_or_default() {
            "hello" => {
                let linked = line["me"]["id"].as_str().map(ToOwned::to_owned);
                if linked.is_none() {
                    writeln!(writer, "{}", json!({"op": "qr", "qr": "scan-me"}))?;
                    // Nobody scans it at once.
                    wait::pass(SCANNED);
                }
                let me = match &linked {
                    Some(_) => line["me"].clone(),
                    None => json!({"id": format!("{ACCOUNT}:1@s.whatsapp.net"), "name": "Bot"}),
                };
                me["id"].as_str().unwrap_or_default().split(':').next().unwrap_or_default().clone_into(of);
                let account = state.accounts.entry(of.clone()).or_default();
                if let Some((_, mut other)) = account.connection.take() {
                    account.replaced += 1;
                    let _ = writeln!(other, "{}", json!({"op": "close", "code": 440, "text": "conflict"}));
                }
                account.connections += 1;
                account.pids.extend(line["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()));
                let texts = |value: &Value| -> Vec<String> {
                    let all = value.as_array().into_iter().flatten();
                    all.filter_map(|one| one.as_str().map(ToOwned::to_owned)).collect()
                };
                (account.arguments, account.environment) = (texts(&line["argv"]), texts(&line["env"]));
                writeln!(writer, "{}", json!({"op": "open", "me": me}))?;
                for waiting in &mut account.waiting {
                    waiting["type"] = "append".into();
                    writeln!(writer, "{waiting}")?;
                }
                account.connection = Some((number, writer.try_clone()?));
            }
            "ack" => {
                let account = state.accounts.entry(of.clone()).or_default();
                account.waiting.retain(|waiting| waiting["n"] != line["n"]);
            }
            "send" => {
                let is_sign = line["content"].get("react").is_some();
                if !is_sign && let Some((code, text)) = state.refusals.pop_front() {
                    writeln!(writer, "{}", answer(Some(code), &text))?;
                    continue;
                }
                let text = |key: &str| line[key].as_str().map(ToOwned::to_owned);
                let (chat, id) = (text("chat").unwrap_or_default(), text("id").unwrap_or_default());
                state.said.push(Said {
                    account: of.clone(),
                    chat,
                    id,
                    content: line["content"].clone(),
                    quoted: text("quoted"),
                    bytes: text("bytes"),
                });
                if is_sign || !std::mem::take(&mut state.is_lost) {
                    writeln!(writer, "{}", answer(None, ""))?;
                }
            }
            "typing" => {
                state.typed.extend(line["chat"].as_str().map(ToOwned::to_owned));
                writeln!(writer, "{}", answer(None, ""))?;
            }
            "read" => {
                let keys = line["keys"].as_array().cloned().unwrap_or_default();
                state.read.extend(keys.iter().filter_map(|key| key["id"].as_str().map(ToOwned::to_owned)));
                writeln!(writer, "{}", answer(None, ""))?;
            }
            "code" => {
                writeln!(writer, "{}", json!({"op": "answer", "ref": line["ref"], "code": "ABCD-1234"}))?;
            }
            _ => {}
        }
    }
    Ok(())
}
