//! Mail as people use it: a real IMAP server (pymap) and a real SMTP server (aiosmtpd) on loopback, with one account; what comes into its
//! inbox, and what it has sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::serving::lock;
use crate::tools::Clients;
use crate::wait;

/// The bot's address.
pub const ADDRESS: &str = "bot@example.org";
/// Its password.
pub const PASSWORD: &str = "correct horse battery staple";
/// The name by which the own mail server signs what it has found out of a sender.
pub const OWN: &str = "mx.example.org";

/// Both servers. They end with this process, however that ends.
pub struct Mail {
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    process: Child,
    place: tempfile::TempDir,
    imap: u16,
    smtp: u16,
    inner: u16,
}

/// What was asked of the servers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Connections.
    pub imap: u64,
    /// Likewise.
    pub smtp: u64,
    /// Logins to the inbox.
    pub logins: u64,
}

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: Vec<String>,
    /// The connection was encrypted.
    pub tls: bool,
    /// The mail.
    pub raw: String,
}

impl Mail {
    /// Starts them; `None`: they are not installed, which was said.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same, with options of `clients/mail_server.py`.
    #[expect(clippy::disallowed_methods, reason = "the test starts the servers' own interpreter")]
    pub fn start_with(options: &[&str]) -> Option<Self> {
        let interpreter = Clients::Mail.interpreter()?;
        let place = tempfile::tempdir().unwrap();
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/mail_server.py");
        let mut process = Command::new(interpreter)
            .arg(script)
            .arg(place.path())
            .args([ADDRESS, PASSWORD])
            .args(options)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut ports = String::new();
        said.read_line(&mut ports).unwrap();
        let ports: Vec<u16> = ports.split_whitespace().map(|port| port.parse().unwrap()).collect();
        let [imap, smtp, inner] = ports[..] else { panic!("the mail servers do not come up: {ports:?}") };
        let talk = Mutex::new((process.stdin.take().unwrap(), said));
        Some(Self { talk, process, place, imap, smtp, inner })
    }

    /// `.env` lines for the account.
    pub fn env(&self) -> String {
        format!("{}EMAIL_TLS=none\n", self.env_by_ports())
    }

    /// The same without a word on encryption.
    pub fn env_by_ports(&self) -> String {
        format!(
            "EMAIL_ADDRESS={ADDRESS}\nEMAIL_PASSWORD='{PASSWORD}'\nEMAIL_IMAP_HOST=localhost\nEMAIL_IMAP_PORT={}\n\
             EMAIL_SMTP_HOST=localhost\nEMAIL_SMTP_PORT={}\nEMAIL_AUTHSERV_ID={OWN}\n",
            self.imap, self.smtp
        )
    }

    /// A mail comes into the inbox as it is.
    pub fn deliver(&self, mail: &str) {
        self.deliver_at(mail, "");
    }

    /// The same, as if it had come at a time (`"01-Feb-2026 10:00:00 +0000"`).
    pub fn deliver_at(&self, mail: &str, time: &str) {
        let mail = mail.replace('\n', "\r\n");
        let mut imap = Imap::log_in(self);
        let time = if time.is_empty() { String::new() } else { format!("\"{time}\" ") };
        imap.ask(&format!("APPEND INBOX {time}{{{}+}}\r\n{mail}", mail.len()));
    }

    /// The inbox is put away, and another one is in its place, whose mails have new numbers.
    pub fn renumber(&self) {
        let name = format!("old{}", wait::system().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
        Imap::log_in(self).ask(&format!("RENAME INBOX {name}"));
    }

    /// How many mails of the inbox are shown as read.
    pub fn read(&self) -> usize {
        let mut imap = Imap::log_in(self);
        imap.ask("SELECT INBOX");
        let found = imap.ask("SEARCH SEEN");
        let line = found.lines().find_map(|line| line.strip_prefix("* SEARCH")).unwrap_or_default();
        line.split_whitespace().count()
    }

    /// Everything that was sent, in order.
    pub fn sent(&self) -> Vec<Sent> {
        let entries = fs_err::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "mail")).collect();
        paths.sort();
        paths.iter().map(|path| Sent::parse(&fs_err::read_to_string(path).unwrap())).collect()
    }

    /// Waits until so many were sent.
    pub fn wait_sent(&self, count: usize) -> Vec<Sent> {
        wait::until(&format!("{count} mails"), || Some(self.sent()).filter(|sent| sent.len() >= count))
    }

    /// Waits for one with this text.
    pub fn wait_said(&self, text: &str) -> Sent {
        wait::until(&format!("a mail that says `{text}`"), || {
            self.sent().into_iter().find(|sent| sent.text() == text)
        })
    }

    /// Ends every connection to the inbox.
    pub fn cut(&self) {
        self.command(&json!({"do": "cut"}));
    }

    /// What is asked next (`auth`, `mail`, `rcpt`, `data`, `fetch`) is answered with this; `lose`: a mail is taken, and nobody hears so; `cut`: not
    /// even taken; `bye`, of a fetch: the connection ends in good order.
    pub fn fail(&self, at: &str, say: &str) {
        self.command(&json!({"do": "fail", "at": at, "say": say}));
    }

    /// The account has another password.
    pub fn change_password(&self, to: &str) {
        self.command(&json!({"do": "password", "to": to}));
    }

    /// What was asked so far.
    pub fn asked(&self) -> Asked {
        let said = self.command(&json!({"do": "stats"}));
        let of = |key: &str| said[key].as_u64().unwrap();
        Asked { imap: of("imap"), smtp: of("smtp"), logins: of("logins") }
    }

    fn password(&self) -> String {
        self.command(&json!({"do": "password?"}))["is"].as_str().unwrap().to_owned()
    }

    fn command(&self, command: &Value) -> Value {
        let mut talk = lock(&self.talk);
        writeln!(talk.0, "{command}").unwrap();
        talk.0.flush().unwrap();
        let mut said = String::new();
        talk.1.read_line(&mut said).unwrap();
        serde_json::from_str(&said).unwrap()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Sent {
    fn parse(text: &str) -> Self {
        let (head, raw) = text.split_once('\n').unwrap();
        let head: Value = serde_json::from_str(head).unwrap();
        let to = head["to"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        Self { to, tls: head["tls"] == true, raw: raw.replace("\r\n", "\n") }
    }

    /// A header, on one line; empty: there is none.
    pub fn header(&self, name: &str) -> String {
        header(&self.raw, name)
    }

    /// Its text.
    pub fn text(&self) -> String {
        let body = match self.parts().into_iter().next() {
            Some(part) => part,
            None => self.raw.clone(),
        };
        String::from_utf8(decoded(&body)).unwrap().trim_end().to_owned()
    }

    /// A file that goes along: its name and its bytes.
    pub fn file(&self) -> Option<(String, Vec<u8>)> {
        let part = self.parts().into_iter().nth(1)?;
        let name = header(&part, "Content-Disposition");
        let name = name.split("filename=\"").nth(1)?.split('"').next()?.to_owned();
        Some((name, decoded(&part)))
    }

    fn parts(&self) -> Vec<String> {
        let kind = self.header("Content-Type");
        let Some(boundary) = kind.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
            return Vec::new();
        };
        let mark = format!("--{boundary}");
        self.raw
            .split(&mark)
            .skip(1)
            .filter(|part| !part.starts_with("--"))
            .map(|part| part.trim_start_matches('\n').to_owned())
            .collect()
    }
}

fn header(mail: &str, name: &str) -> String {
    let head = mail.split("\n\n").next().unwrap_or_default().replace("\n ", " ").replace("\n\t", " ");
    let found = head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

/// The bytes behind the headers.
fn decoded(part: &str) -> Vec<u8> {
    let (_, body) = part.split_once("\n\n").unwrap_or_default();
    match header(part, "Content-Transfer-Encoding").to_ascii_lowercase().as_str() {
        "base64" => {
            let text: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            base64::engine::general_purpose::STANDARD.decode(text).unwrap()
        }
        "quoted-printable" => {
            let body = body.replace("=\n", "");
            let mut bytes = Vec::new();
            let mut rest = body.bytes();
            while let Some(byte) = rest.next() {
                if byte == b'=' {
                    let hex: String = rest.by_ref().take(2).map(char::from).collect();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                } else {
                    bytes.push(byte);
                }
            }
            bytes
        }
        _ => body.as_bytes().to_vec(),
    }
}

/// A mail that the own server has found to be of whom it says.
pub fn letter(from: &str, subject: &str, id: &str, text: &str) -> String {
    let domain = from.rsplit_once('@').map_or("", |(_, domain)| domain.trim_end_matches('>'));
    format!(
        "Authentication-Results: {OWN};\n dmarc=pass header.from={domain}\n{}",
        unsigned(from, subject, id, text)
    )
}

/// One of whom nobody has said anything.
pub fn unsigned(from: &str, subject: &str, id: &str, text: &str) -> String {
    format!("From: {from}\nTo: {ADDRESS}\nSubject: {subject}\nMessage-ID: <{id}>\n\n{text}\n")
}

/// A client of the inbox, of the tests' own.
struct Imap {
    stream: BufReader<TcpStream>,
}

impl Imap {
    fn log_in(mail: &Mail) -> Self {
        let stream = BufReader::new(TcpStream::connect(("127.0.0.1", mail.inner)).unwrap());
        let mut imap = Self { stream };
        let mut greeting = String::new();
        imap.stream.read_line(&mut greeting).unwrap();
        let password = mail.password();
        imap.ask(&format!("LOGIN {ADDRESS} \"{password}\""));
        imap
    }

    /// Asks, and gives everything up to the end of a good answer.
    fn ask(&mut self, command: &str) -> String {
        self.stream.get_mut().write_all(format!("x {command}\r\n").as_bytes()).unwrap();
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the server closed: {all}");
            if let Some(answer) = line.strip_prefix("x ") {
                assert!(answer.starts_with("OK"), "{}: {answer}", command.lines().next().unwrap_or_default());
                return all;
            }
            all.push_str(&line);
        }
    }
}
