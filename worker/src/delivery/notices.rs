//! What people hear when the gateway has started: home channels that it is there, and whoever asked for a restart that it is back.
//!
//! Both are letters of the ledger, written in the transaction that notes for which start of the gateway they are: so a start is told once,
//! however many workers it takes, and whatever becomes of them. Who asked for a restart stands in `.restart_notify.json` of the profile's
//! home, in 0.19.0's form; it is removed once its letter is in the ledger, and the letter's key is made of it.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use hermes_config::{HomeChannel, ProfileConfig};
use hermes_host::{blocking, disk};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ledger::{self, Letter};
use super::outbound::CHAT_ID;
use super::post::THREAD_ID;
use super::{Deliveries, DeliveryTarget};
use crate::inbound::Source;
use crate::session::epoch;
use crate::store::Owner;

/// As in 0.19.0.
const ONLINE: &str = "♻️ Gateway online — Hermes is back and ready.";
/// Likewise.
const RESTARTED: &str = "♻ Gateway restarted successfully. Your session continues.";
/// Which start of the gateway was told, in `state_meta`.
const TOLD: &str = "hermes_gateway_told";
/// Longest file that is read.
const LONGEST: usize = 64 * 1024;

/// Who asked for a restart, as 0.19.0 writes it; what else is there is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The chat's platform.
    pub(crate) platform: String,
    /// The chat.
    pub(crate) chat_id: String,
    /// A thread in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thread_id: Option<String>,
    /// The message that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
}

/// Where that stands.
fn path(home: &ProfileHome) -> Utf8PathBuf {
    home.path().join(".restart_notify.json")
}

/// Writes down who asked for a restart, for the worker that comes. The error is for people.
pub(crate) fn note(home: &ProfileHome, source: &Source, message_id: Option<&str>) -> Result<(), String> {
    let mut asked = json!({
        "platform": source.platform,
        "chat_id": source.chat_id,
        "chat_type": source.chat_type,
    });
    let more = [
        ("thread_id", source.thread_id.as_deref()),
        ("user_id", source.user_id.as_deref()),
        ("message_id", message_id),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            asked[key] = value.into();
        }
    }
    let path = path(home);
    disk::replace(&path, asked.to_string().as_bytes())
        .map_err(|error| format!("`{path}` cannot be written: {error}"))
}

impl Deliveries {
    /// Tells of the start of the gateway that this worker works for. Call once, when the ledger is worked off.
    pub(crate) async fn announce(&self, config: &ProfileConfig, gateway: Option<Owner>) {
        let home = self.0.store.home().clone();
        let read = blocking::run(move || asked(&home)).await;
        let asked = read.unwrap_or_else(|lost| {
            tracing::warn!(error = %lost, "who asked for the restart is not known");
            None
        });
        let mut letters = Vec::new();
        let hears = |name: &str| {
            config.platforms.iter().any(|platform| platform.name == name && platform.notices)
                && self.reaches(name)
        };
        if let Some(asked) = asked.as_ref().filter(|asked| hears(&asked.platform)) {
            letters.push(Notice::new(asked.clone(), RESTARTED));
        }
        for platform in config.platforms.iter().filter(|platform| hears(&platform.name)) {
            let Some(HomeChannel { chat_id, thread_id, .. }) = platform.home.clone() else { continue };
            let to = Asked { platform: platform.name.clone(), chat_id, thread_id, message_id: None };
            // Whoever asked hears it once.
            if letters.iter().all(|notice| !notice.is_for(&to))
                && self.is_gone(&to.platform, &to.chat_id).await.is_none()
            {
                letters.push(Notice::new(to, ONLINE));
            }
        }
        let start = gateway.map(|owner| format!("{}:{}", owner.pid, owner.start_time));
        let written = self.0.store.write(move |db| tell(db, start.as_deref(), &letters, epoch())).await;
        match written {
            Ok(false) => {}
            Ok(true) => self.ring(),
            Err(error) => {
                tracing::warn!(%error, "the start of the gateway is not told");
                return;
            }
        }
        if asked.is_some() {
            let path = path(self.0.store.home());
            let removed = blocking::run(move || fs_err::remove_file(path).or_absent()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "who asked for the restart stays noted");
            }
        }
    }
}

/// One letter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Notice {
    to: Asked,
    text: &'static str,
}

impl Notice {
    fn new(to: Asked, text: &'static str) -> Self {
        Self { to, text }
    }

    fn is_for(&self, other: &Asked) -> bool {
        let place = |to: &Asked| (to.platform.clone(), to.chat_id.clone(), to.thread_id.clone());
        place(&self.to) == place(other)
    }

    fn is_answer(&self) -> bool {
        self.text == RESTARTED
    }
}

/// Who asked for the restart, if anybody did.
fn asked(home: &ProfileHome) -> Option<Asked> {
    let path = path(home);
    let bytes = match disk::read_own(&path, LONGEST).or_absent() {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(%error, %path, "who asked for the restart cannot be read");
            return None;
        }
    };
    match serde_json::from_slice::<Asked>(&bytes) {
        Ok(asked) if !asked.platform.is_empty() && !asked.chat_id.is_empty() => Some(asked),
        _ => {
            tracing::warn!(%path, "who asked for the restart cannot be read");
            None
        }
    }
}

/// Writes the letters of a start; home channels' only where it was not told before. Whether there are new ones.
fn tell(db: &Connection, start: Option<&str>, letters: &[Notice], now: f64) -> rusqlite::Result<bool> {
    let told: Option<String> = db
        .prepare_cached("SELECT value FROM state_meta WHERE key = ?1")?
        .query_row([TOLD], |row| row.get(0))
        .optional()?;
    let is_new = start.is_some_and(|start| told.as_deref() != Some(start));
    let mut any = false;
    for notice in letters.iter().filter(|notice| is_new || notice.is_answer()) {
        let Asked { platform, chat_id, thread_id, message_id } = &notice.to;
        let mut extra = BTreeMap::from([(CHAT_ID.to_owned(), chat_id.clone())]);
        extra.extend(thread_id.clone().map(|thread| (THREAD_ID.to_owned(), thread)));
        let target = DeliveryTarget { kind: platform.clone(), extra };
        let letter = Letter { session: "", platform, chat_id, target: &target, text: notice.text };
        let of = if notice.is_answer() { message_id.as_deref() } else { None };
        let which = format!("{} {} {}", start.unwrap_or_default(), of.unwrap_or_default(), notice.text);
        let place = format!("{platform} {chat_id} {}", thread_id.as_deref().unwrap_or_default());
        any |= ledger::add_once(db, &ledger::key_of(&which, &place), &letter, now)?;
    }
    if let Some(start) = start.filter(|_| is_new) {
        db.prepare_cached(
            "INSERT INTO state_meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        )?
        .execute([TOLD, start])?;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    /// The letters of a start, as often as it is told.
    #[tokio::test]
    async fn a_start_is_told_once_and_whoever_asked_for_it_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, Owner::current()).unwrap();
        let place = |chat: &str| Asked { platform: "chat".into(), chat_id: chat.into(), ..Asked::default() };
        let asked = Asked { message_id: Some("9".into()), ..place("asker") };
        let letters = vec![Notice::new(asked, RESTARTED), Notice::new(place("home"), ONLINE)];
        let told = store.write(move |db| {
            let mut told = Vec::new();
            for start in ["1:10", "1:10", "1:11", "1:11"] {
                tell(db, Some(start), &letters, 1.0)?;
                told.push(
                    db.query_row("SELECT count(*) FROM hermes_delivery", [], |row| row.get::<_, i64>(0))?,
                );
            }
            // A worker of no gateway.
            tell(db, None, &letters[1..], 1.0)?;
            told.push(db.query_row("SELECT count(*) FROM hermes_delivery", [], |row| row.get(0))?);
            Ok(told)
        });
        assert_eq!(told.await.unwrap(), [2, 2, 4, 4, 4]);
        store.close().await;
    }

    #[test]
    fn who_asked_is_written_down_for_the_next_worker() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let source = Source {
            platform: "telegram".into(),
            chat_type: "group".into(),
            chat_id: Some("-100".into()),
            thread_id: Some("7".into()),
            ..Source::default()
        };
        note(&home, &source, Some("4")).unwrap();
        let said: serde_json::Value = serde_json::from_slice(&fs_err::read(path(&home)).unwrap()).unwrap();
        let expected = json!({
            "platform": "telegram", "chat_id": "-100", "chat_type": "group", "thread_id": "7", "message_id": "4"
        });
        assert_eq!(said, expected);
        assert_eq!(asked(&home).unwrap().message_id.as_deref(), Some("4"));
        let gone = ProfileHome::new(dir.path().join("gone").to_str().unwrap());
        assert!(note(&gone, &source, None).is_err());
    }

    #[test]
    fn who_asked_is_read_as_0_19_0_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        assert_eq!(asked(&home), None);
        let written = r#"{"platform": "telegram", "chat_id": "777", "chat_type": "dm", "thread_id": "9", "message_id": "4"}"#;
        fs_err::write(path(&home), written).unwrap();
        let found = asked(&home).unwrap();
        assert_eq!((found.chat_id.as_str(), found.thread_id.as_deref()), ("777", Some("9")));
        for odd in ["", "{}", "[]", r#"{"platform": "telegram", "chat_id": ""}"#] {
            fs_err::write(path(&home), odd).unwrap();
            assert_eq!(asked(&home), None, "{odd}");
        }
    }
}
