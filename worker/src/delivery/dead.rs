//! Chats that are gone: deleted, or the bot was put out of them. Nobody is sent there what nobody there has asked for.
//!
//! `gateway/dead_targets.json` of the profile's home holds them, in 0.19.0's form. A chat is put down when its service says that it is gone,
//! and struck out when something gets there, or comes from there. A file that cannot be read is left alone: then what is known lives as
//! long as this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::Utf8PathBuf;
use hermes_host::{blocking, disk, file};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::runtime_status::{GoneChat, GoneChats};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::clock;
use crate::session::epoch;

/// Most chats that are known.
const MOST: usize = 1000;
/// Longest file that is read.
const LONGEST: usize = 1 << 20;
/// Most that are shown by name.
const SHOWN: usize = 20;
/// Most characters of a reason, as in 0.19.0.
const REASON: usize = 200;

/// One of them, as 0.19.0 has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(default)]
    platform: String,
    #[serde(default)]
    chat_id: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    marked_at: f64,
}

type Entries = BTreeMap<String, Entry>;

/// See the module. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct DeadTargets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: Utf8PathBuf,
    /// None: the file was not read yet.
    known: Mutex<Option<Entries>>,
    /// Rung whenever something was put down or struck out.
    changed: watch::Sender<()>,
}

impl DeadTargets {
    pub(crate) fn of(home: &ProfileHome) -> Self {
        let path = home.path().join("gateway/dead_targets.json");
        Self(Arc::new(Inner { path, known: Mutex::new(None), changed: watch::Sender::new(()) }))
    }

    /// Why a chat is sent nothing; none: it may be.
    pub(crate) async fn reason(&self, platform: &str, chat: &str) -> Option<String> {
        let key = key(platform, chat);
        self.with(move |entries| entries.get(&key).map(|entry| entry.reason.clone())).await
    }

    /// All of them, for people; the latest by name.
    pub(crate) async fn shown(&self) -> GoneChats {
        self.with(|entries| {
            let mut latest: Vec<(&String, &Entry)> = entries.iter().collect();
            latest.sort_by(|a, b| b.1.marked_at.total_cmp(&a.1.marked_at));
            let shown = |(key, entry): &(&String, &Entry)| {
                // An entry that does not say whose it is has it in its key.
                let (platform, chat) = key.split_once(':').unwrap_or((key, ""));
                let or =
                    |said: &str, key: &str| if said.is_empty() { key.to_owned() } else { said.to_owned() };
                GoneChat {
                    platform: or(&entry.platform, platform),
                    chat_id: or(&entry.chat_id, chat),
                    reason: entry.reason.clone(),
                    since: clock::at(entry.marked_at).filter(|_| entry.marked_at > 0.0),
                }
            };
            GoneChats {
                count: u64::try_from(entries.len()).unwrap_or(u64::MAX),
                latest: latest.iter().take(SHOWN).map(shown).collect(),
            }
        })
        .await
    }

    /// Rings whenever something was put down or struck out by this process.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// A chat is gone.
    pub(crate) async fn mark(&self, platform: &str, chat: &str, reason: &str) {
        let entry = Entry {
            platform: platform.to_owned(),
            chat_id: chat.to_owned(),
            reason: reason.chars().take(REASON).collect(),
            marked_at: epoch(),
        };
        let key = key(platform, chat);
        let wanted = key.clone();
        let is_known = self.with(move |entries| entries.contains_key(&wanted)).await;
        if !is_known {
            tracing::warn!(
                "[{platform}] {chat} is gone: {reason}; it is sent nothing that nobody there has asked for"
            );
        }
        self.change(move |entries| {
            // Since when it is gone stays what it was.
            let since = entries.get(&key).map_or(entry.marked_at, |before| before.marked_at);
            entries.insert(key.clone(), Entry { marked_at: since, ..entry.clone() });
            while entries.len() > MOST {
                let oldest = entries.iter().min_by(|a, b| a.1.marked_at.total_cmp(&b.1.marked_at));
                let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
                entries.remove(&oldest);
            }
        })
        .await;
    }

    /// Something got to a chat, or came from it.
    pub(crate) async fn clear(&self, platform: &str, chat: &str) {
        let key = key(platform, chat);
        let wanted = key.clone();
        let is_known = self.with(move |entries| entries.contains_key(&wanted)).await;
        if is_known {
            tracing::info!("[{platform}] {chat} is there again");
            self.change(move |entries| drop(entries.remove(&key))).await;
        }
    }

    /// Looks at what is known. The file is read once.
    async fn with<T: Send + Default + 'static>(
        &self,
        look: impl FnOnce(&Entries) -> T + Send + 'static,
    ) -> T {
        if let Some(entries) = self.lock().as_ref() {
            return look(entries);
        }
        let this = self.clone();
        let read = blocking::run(move || {
            let entries = this.read().unwrap_or_default();
            look(this.lock().get_or_insert(entries))
        });
        read.await.unwrap_or_default()
    }

    /// Changes what is known, and the file, which another process of this profile may have changed meanwhile.
    async fn change(&self, change: impl Fn(&mut Entries) + Send + 'static) {
        let this = self.clone();
        let changed = blocking::run(move || {
            let on_disk = this.read();
            let mut known = this.lock();
            let entries = known.get_or_insert_default();
            change(entries);
            this.0.changed.send_replace(());
            let Some(mut on_disk) = on_disk else { return };
            change(&mut on_disk);
            if let Err(error) = this.write(&on_disk) {
                tracing::warn!(%error, path = %this.0.path, "which chats are gone is not written");
            }
        });
        if let Err(lost) = changed.await {
            tracing::warn!(error = %lost, "which chats are gone is not written");
        }
    }

    /// What the file says; none: it cannot be read, and must not be written over.
    fn read(&self) -> Option<Entries> {
        let path = &self.0.path;
        let bytes = match disk::read_bounded(path, LONGEST).or_absent() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Some(Entries::new()),
            Err(error) => {
                tracing::warn!(%error, %path, "which chats are gone cannot be read");
                return None;
            }
        };
        // One entry that is none spoils no other.
        let all: BTreeMap<String, Value> = match serde_json::from_slice(&bytes) {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, %path, "which chats are gone cannot be read");
                return None;
            }
        };
        Some(
            all.into_iter()
                .filter_map(|(key, entry)| Some((key, serde_json::from_value(entry).ok()?)))
                .collect(),
        )
    }

    fn write(&self, entries: &Entries) -> std::io::Result<()> {
        if let Some(dir) = self.0.path.parent() {
            disk::make_dirs(dir, 0o700)?;
        }
        let json = serde_json::to_vec_pretty(entries).expect("texts and numbers always serialise");
        file::write_atomic(&self.0.path, &json, 0o600, false)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entries>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As 0.19.0 writes it.
fn key(platform: &str, chat: &str) -> String {
    format!("{}:{}", platform.trim().to_lowercase(), chat.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chats_are_put_down_and_struck_out_and_a_file_that_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let path = home.path().join("gateway/dead_targets.json");
        let dead = DeadTargets::of(&home);
        assert_eq!(dead.reason("telegram", "7").await, None);
        assert!(!path.exists(), "nothing is written for nothing");
        dead.mark("telegram", "7", "blocked").await;
        dead.mark("telegram", "8", &"x".repeat(999)).await;
        // As another process of this profile reads it.
        let other = DeadTargets::of(&home);
        assert_eq!(other.reason("Telegram", " 7").await.as_deref(), Some("blocked"));
        assert_eq!(other.reason("telegram", "8").await.map(|reason| reason.len()), Some(REASON));
        let json: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&json["telegram:7"]["platform"], &json["telegram:7"]["chat_id"]),
            (&"telegram".into(), &"7".into())
        );
        other.clear("telegram", "7").await;
        assert_eq!(DeadTargets::of(&home).reason("telegram", "7").await, None);
        // One entry that is none spoils no other; a file that is none is left alone.
        fs_err::write(&path, r#"{"telegram:7": {"reason": "gone", "marked_at": 1.5}, "telegram:9": 3}"#)
            .unwrap();
        let odd = DeadTargets::of(&home);
        assert_eq!(
            (odd.reason("telegram", "7").await.as_deref(), odd.reason("telegram", "9").await),
            (Some("gone"), None)
        );
        let shown = odd.shown().await;
        assert_eq!(
            (shown.count, shown.line().as_str()),
            (1, "1 chat is gone: telegram 7 (since 1970-01-01T00:00:01.500000+00:00: gone)")
        );
        let mut changes = odd.changes();
        for n in 0..SHOWN {
            odd.mark("signal", &format!("+{n}"), "left").await;
        }
        odd.mark("telegram", "7", "still gone").await;
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let shown = odd.shown().await;
        assert_eq!((shown.count, shown.latest.len()), (21, SHOWN));
        assert!(
            shown.latest.iter().all(|chat| chat.platform == "signal"),
            "the oldest is not named: {shown:?}"
        );
        assert!(
            shown.line().starts_with("21 chats are gone: signal +19 (since ")
                && shown.line().ends_with(", 18 more")
        );
        fs_err::write(&path, "{").unwrap();
        let broken = DeadTargets::of(&home);
        broken.mark("telegram", "1", "gone").await;
        assert_eq!(broken.reason("telegram", "1").await.as_deref(), Some("gone"));
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "{");
    }
}
