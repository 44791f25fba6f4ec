//! A launch agent's property list: what it starts, for whom, and whether somebody edited it.
//!
//! What `install` writes carries a mark, a comment with a hash of all the rest, as units of systemd do. Reading is lenient, as there are
//! files of the Python program and by hand, in XML and binary: what is not understood says nothing.

use std::io::Cursor;

use camino::{Utf8Path, Utf8PathBuf};
use plist::{Dictionary, Value};

use super::super::Owner;
use super::super::facts::Facts;
use super::super::unit::{self, Author, Program, Unit};
use crate::home::{self, Surroundings};

/// How the line with the mark begins and ends.
const MARK: (&str, &str) = ("<!-- hermes-plist: sha256 ", " -->");
/// The line that the mark stands above.
const ROOT: &str = "<plist ";
/// The variable that is of the shell that called.
const PATH: &str = "PATH";
/// Open files that a gateway may have, and with it its workers; launchd's own default is 256.
const FILES: u64 = 65_536;
/// `umask 077`.
const UMASK: u64 = 0o077;
/// Seconds between two starts; it is what launchd does anyway, said so that nobody has to know.
const THROTTLE: u64 = 10;

/// The file, with its mark. `log` is where what is said before there is a log goes; launchd opens it, so its directory is there and no
/// other program's.
///
/// No session type: launchd then loads it in whatever session it is asked from. `Interactive`: as a process that somebody waits for, or
/// the system throttles its processor and its disk. Started again unless it ended well: a planned stop is one, and under launchd a refused
/// configuration ends well too, because no exit code forbids a retry here.
pub(crate) fn render(facts: &Facts, label: &str, log: &Utf8Path) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let number = |number: u64| Value::Integer(number.into());
    let table = |entries: &[(&str, Value)]| {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Value::Dictionary(entries.collect::<Dictionary>())
    };
    let Facts { owner, program, on_login, .. } = facts;
    let home = owner.root.profile(&owner.profile);
    let words = [program.as_str(), "-p", owner.profile.as_str(), "gateway", "run"];
    let variables = table(&[
        ("HERMES_HOME", text(owner.root.path().as_str())),
        (PATH, text(&facts.search_path())),
        // Somebody starts it again, and SIGHUP is no terminal that was closed.
        ("HERMES_GATEWAY_EXTERNAL_SUPERVISOR", text("1")),
    ]);
    let limit = table(&[("NumberOfFiles", number(FILES))]);
    // `SuccessfulExit` would have it start at login by itself.
    let keep =
        if *on_login { ("SuccessfulExit", Value::Boolean(false)) } else { ("Crashed", Value::Boolean(true)) };
    let file = table(&[
        ("Label", text(label)),
        ("ProgramArguments", Value::Array(words.iter().map(|word| text(word)).collect())),
        ("WorkingDirectory", text(home.path().as_str())),
        ("EnvironmentVariables", variables),
        ("RunAtLoad", Value::Boolean(*on_login)),
        ("KeepAlive", table(&[keep])),
        ("ThrottleInterval", number(THROTTLE)),
        ("ExitTimeOut", number(facts.stop())),
        ("ProcessType", text("Interactive")),
        ("SoftResourceLimits", limit.clone()),
        ("HardResourceLimits", limit),
        ("Umask", number(UMASK)),
        ("StandardOutPath", text(log.as_str())),
        ("StandardErrorPath", text(log.as_str())),
    ]);
    let mut bytes = Vec::new();
    file.to_writer_xml(&mut bytes).expect("strings, numbers and flags can be written to memory");
    let mut body = String::from_utf8(bytes).expect("it was written from strings");
    body.push('\n');
    sealed(&body)
}

/// The same for another label, program or environment: what somebody edited stays.
pub(crate) fn changed(text: &str, change: impl FnOnce(&mut Dictionary)) -> Option<String> {
    let mut file = Value::from_reader(Cursor::new(text.as_bytes())).ok()?;
    change(file.as_dictionary_mut()?);
    let mut bytes = Vec::new();
    file.to_writer_xml(&mut bytes).ok()?;
    let body = String::from_utf8(bytes).ok()? + "\n";
    Some(if author(text) == Author::Us { sealed(&body) } else { body })
}

/// The text as it is compared: the PATH is of the shell that called, and none of a file's age.
pub(crate) fn comparable(text: &str) -> Option<Value> {
    let mut file = Value::from_reader(Cursor::new(text.as_bytes())).ok()?;
    let variables =
        file.as_dictionary_mut()?.get_mut("EnvironmentVariables").and_then(Value::as_dictionary_mut);
    variables.map(|all| all.remove(PATH));
    Some(file)
}

/// What a file says; `env` is that of the user whose it is.
pub(crate) fn read(bytes: &[u8], env: &Surroundings) -> Unit {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let author = author(&text);
    let nothing = Unit { text: text.clone(), author, program: Program::Unknown, owner: None, user: None };
    let Ok(file) = Value::from_reader(Cursor::new(bytes)) else { return nothing };
    let Some(file) = file.as_dictionary() else { return nothing };
    let words: Vec<String> = file
        .get("ProgramArguments")
        .and_then(Value::as_array)
        .map(|words| words.iter().filter_map(Value::as_string).map(str::to_owned).collect())
        .unwrap_or_default();
    let variables = file.get("EnvironmentVariables").and_then(Value::as_dictionary);
    let home = variables.and_then(|all| all.get("HERMES_HOME")?.as_string()).map(Utf8PathBuf::from);
    let owner = unit::is_gateway(&words)
        .then(|| home::meant(home, unit::flag(&words).as_deref(), env))
        .flatten()
        .map(|(root, profile)| Owner { root, profile });
    let user = file.get("UserName").and_then(Value::as_string).map(str::to_owned);
    Unit { text, author, program: unit::program(&words), owner, user }
}

/// The names of its settings, and of the variables among them.
pub(crate) fn names(text: &str) -> Option<(Vec<String>, Vec<String>)> {
    let file = Value::from_reader(Cursor::new(text.as_bytes())).ok()?;
    let names = |all: &Dictionary| all.keys().cloned().collect::<Vec<_>>();
    let file = file.as_dictionary()?;
    let variables = file.get("EnvironmentVariables").and_then(Value::as_dictionary);
    Some((names(file), variables.map(names).unwrap_or_default()))
}

/// Whether it is started with the session.
pub(crate) fn starts_at_login(text: &str) -> bool {
    let Ok(file) = Value::from_reader(Cursor::new(text.as_bytes())) else { return false };
    let flag = |key: &str| file.as_dictionary()?.get(key)?.as_boolean();
    flag("RunAtLoad").or_else(|| flag("KeepAlive")).unwrap_or(false)
}

fn sealed(body: &str) -> String {
    let mark = format!("{}{}{}\n", MARK.0, unit::digest(body), MARK.1);
    // Behind the declarations, where every reader of property lists expects a comment.
    let at = body.find(ROOT).unwrap_or(0);
    format!("{}{mark}{}", &body[..at], &body[at..])
}

fn author(text: &str) -> Author {
    let Some(at) = text.find(MARK.0) else { return Author::Other };
    let Some((hash, rest)) = text[at + MARK.0.len()..].split_once(MARK.1) else { return Author::Edited };
    let body = format!("{}{}", &text[..at], rest.strip_prefix('\n').unwrap_or(rest));
    if hash == unit::digest(&body) { Author::Us } else { Author::Edited }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hermes_wire::RootHome;
    use proptest::prelude::*;

    use super::super::super::Manager;
    use super::super::super::facts::Times;
    use super::*;

    fn env() -> Surroundings {
        Surroundings { user_home: Some("/nowhere/ada".into()), ..Surroundings::bare() }
    }

    fn owner(root: &str, profile: &str) -> Owner {
        Owner { root: RootHome::new(root), profile: profile.parse().unwrap() }
    }

    fn rendered(owner: &Owner, on_login: bool) -> String {
        let facts = Facts {
            owner: owner.clone(),
            manager: Manager::Launchd,
            program: "/usr/local/bin/hermes".into(),
            account: None,
            path: Vec::new(),
            times: Times { drain: Duration::from_secs(20), watchdog: None },
            on_login,
        };
        facts.text("ai.hermes.gateway.plist", &env()).unwrap()
    }

    /// N5.5, and the sample in `deploy/`: `INSTA_UPDATE=always` brings it up to date.
    #[test]
    fn n5_5_the_sample_is_what_install_writes() {
        let text = rendered(&owner("/nowhere/ada/.hermes", "default"), true);
        for never in ["LimitLoadToSessionType", "--replace"] {
            assert!(!text.contains(never), "{text}");
        }
        let sample =
            Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/launchd/ai.hermes.gateway.plist");
        #[expect(clippy::disallowed_methods, reason = "as the snapshots of the other tests")]
        if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
            fs_err::write(&sample, &text).unwrap();
        }
        assert_eq!(fs_err::read_to_string(&sample).unwrap_or_default(), text, "{sample} is stale");
    }

    #[test]
    fn what_is_written_is_read_and_an_edit_is_seen() {
        let coder = owner("/srv/<h> & co", "coder");
        let text = rendered(&coder, false);
        let unit = read(text.as_bytes(), &env());
        assert_eq!(
            (unit.owner.as_ref(), unit.author, unit.program),
            (Some(&coder), Author::Us, Program::Hermes)
        );
        assert!(text.contains("<key>Crashed</key>") && !text.contains("SuccessfulExit"), "{text}");
        let edited = text.replace("<integer>50</integer>", "<integer>90</integer>");
        assert_eq!(read(edited.as_bytes(), &env()).author, Author::Edited);
        let dev =
            changed(&text, |file| drop(file.insert("Label".to_owned(), Value::String("dev".to_owned()))))
                .unwrap();
        assert_eq!(read(dev.as_bytes(), &env()).author, Author::Us);
        let dev = changed(&edited, |_| {}).unwrap();
        assert!(
            dev.contains("<integer>90</integer>") && read(dev.as_bytes(), &env()).author == Author::Other
        );
        let elsewhere = text.replace("/usr/local/sbin:", "/opt/node/bin:");
        assert!(
            elsewhere != text
                && comparable(&elsewhere) == comparable(&text)
                && comparable(&edited) != comparable(&text)
        );
        let mut binary = Vec::new();
        Value::from_reader(Cursor::new(text.as_bytes())).unwrap().to_writer_binary(&mut binary).unwrap();
        assert_eq!(read(&binary, &env()).owner, Some(coder));
    }

    #[test]
    fn an_agent_of_the_python_program_is_known_by_what_it_starts() {
        let python = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>ai.hermes.gateway-coder</string>
  <key>ProgramArguments</key><array><string>/v/bin/python</string><string>-m</string><string>hermes_cli.main</string>
    <string>--profile</string><string>coder</string><string>gateway</string><string>run</string><string>--replace</string></array>
  <key>EnvironmentVariables</key><dict><key>HERMES_HOME</key><string>/nowhere/ada/.hermes/profiles/coder</string></dict>
</dict></plist>"#;
        let unit = read(python.as_bytes(), &env());
        assert_eq!(unit.owner, Some(owner("/nowhere/ada/.hermes", "coder")));
        assert_eq!((unit.program, unit.author), (Program::Python, Author::Other));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(<\\?xml version=\"1.0\"\\?>)?(<plist|<dict>|<key>ProgramArguments</key>|<array>|</|>|bplist00|<!-- hermes-plist: sha256 | -->|&|\n|\\PC){0,60}") {
            let _ = read(text.as_bytes(), &env());
            let _ = changed(&text, |_| {});
        }
    }
}
