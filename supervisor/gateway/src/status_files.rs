//! The workers' status files: one, read as a file of ours whose words are shown and never obeyed ([`read`]); and those of many
//! homes ([`StatusFiles`]), any of which may be on a file system that does not answer.
//!
//! Of many, one thread reads them one after the other. A home at which it is stuck is left to it, and another thread reads the rest; until
//! the first one is back, nobody else touches that home. So a home that hangs costs one thread, and hides no other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::contract::runtime_status::{self, RuntimeStatus};
use hermes_wire::{ProfileHome, text};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long one file may take before its home is left alone.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long all of them may take; what was not read by then is missing.
const LONGEST: Duration = Duration::from_secs(3);

/// A worker's status file, or the older name of it; `None` where there is none that can be used.
pub fn read(home: &ProfileHome) -> Option<RuntimeStatus> {
    [home.runtime_status(), home.gateway_state()].iter().find_map(|path| read_at(path))
}

/// What the Python program says of itself in a home, whatever this program said there before.
pub fn read_theirs(home: &ProfileHome) -> Option<RuntimeStatus> {
    read_at(&home.gateway_state()).filter(|status| status.schema.is_none())
}

fn read_at(path: &Utf8Path) -> Option<RuntimeStatus> {
    let bytes = disk::read_own(path, runtime_status::MAX_LEN).ok()?;
    RuntimeStatus::read(&bytes).ok().map(shown)
}

/// With what it says made harmless, wherever it will be shown.
fn shown(mut status: RuntimeStatus) -> RuntimeStatus {
    let harmless = |text: &mut String| {
        if let std::borrow::Cow::Owned(visible) = text::visible(text) {
            *text = visible;
        }
    };
    let texts = [
        &mut status.exit_reason,
        &mut status.gateway_state,
        &mut status.updated_at,
        &mut status.degraded_reason,
    ];
    texts.into_iter().flatten().for_each(harmless);
    if let Some(error) = &mut status.last_error {
        let texts =
            [&mut error.provider, &mut error.class, &mut error.message, &mut error.since, &mut error.at];
        texts.into_iter().for_each(harmless);
    }
    status.platforms = std::mem::take(&mut status.platforms)
        .into_iter()
        .map(|(mut name, mut platform)| {
            harmless(&mut name);
            harmless(&mut platform.state);
            let texts = [&mut platform.error_code, &mut platform.error_message, &mut platform.updated_at];
            texts.into_iter().flatten().for_each(harmless);
            (name, platform)
        })
        .collect();
    status.tool_servers = std::mem::take(&mut status.tool_servers)
        .into_iter()
        .map(|(mut name, mut server)| {
            harmless(&mut name);
            harmless(&mut server.state);
            let texts = [&mut server.reason, &mut server.protocol, &mut server.updated_at];
            texts.into_iter().flatten().for_each(harmless);
            (name, server)
        })
        .collect();
    status.key_pools = std::mem::take(&mut status.key_pools)
        .into_iter()
        .map(|(mut name, mut pool)| {
            harmless(&mut name);
            for key in &mut pool.left_alone {
                harmless(&mut key.reason);
                key.until.iter_mut().for_each(harmless);
            }
            (name, pool)
        })
        .collect();
    for chat in status.gone_chats.iter_mut().flat_map(|gone| &mut gone.latest) {
        [&mut chat.platform, &mut chat.chat_id, &mut chat.reason].into_iter().for_each(harmless);
        chat.since.iter_mut().for_each(harmless);
    }
    status
}

/// What was found, by home.
#[derive(Debug, Default)]
pub struct Found(HashMap<Utf8PathBuf, RuntimeStatus>);

impl Found {
    /// What the file in this home says.
    pub(crate) fn of(&self, home: &Utf8Path) -> Option<&RuntimeStatus> {
        self.0.get(home)
    }

    /// Reads them here and now, where nothing hangs.
    #[cfg(test)]
    pub(crate) fn read<'a>(homes: impl Iterator<Item = &'a ProfileHome>) -> Self {
        Self(homes.filter_map(|home| Some((home.path().to_owned(), read(home)?))).collect())
    }
}

/// Reads status files, and remembers which homes do not answer. Cloning shares that.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusFiles {
    stuck: Arc<Mutex<BTreeSet<Utf8PathBuf>>>,
}

impl StatusFiles {
    fn stuck<T>(&self, change: impl FnOnce(&mut BTreeSet<Utf8PathBuf>) -> T) -> T {
        change(&mut self.stuck.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the files in `homes` say, without those that do not answer.
    pub(crate) async fn read(&self, homes: Vec<ProfileHome>) -> Found {
        self.read_with(homes, read).await
    }

    async fn read_with(
        &self,
        homes: Vec<ProfileHome>,
        read: impl Fn(&ProfileHome) -> Option<RuntimeStatus> + Clone + Send + 'static,
    ) -> Found {
        let until = Instant::now() + LONGEST;
        let mut found = HashMap::with_capacity(homes.len());
        let mut left: VecDeque<ProfileHome> =
            self.stuck(|stuck| homes.into_iter().filter(|home| !stuck.contains(home.path())).collect());
        while !left.is_empty() {
            let mut statuses = self.begin(left.iter().cloned().collect(), read.clone()).await;
            loop {
                let patience = (Instant::now() + PATIENCE).min(until);
                let status = match tokio::time::timeout_at(patience, statuses.recv()).await {
                    Ok(Some(status)) => status,
                    Ok(None) => return Found(found),
                    // What arrived at the last moment counts: who is marked has a thread that takes the mark away.
                    Err(_) => match self.stuck(|stuck| {
                        let late = statuses.try_recv();
                        if let (Err(_), Some(home)) = (&late, left.front()) {
                            stuck.insert(home.path().to_owned());
                        }
                        late
                    }) {
                        Ok(status) => status,
                        Err(_) if Instant::now() >= until => return Found(found),
                        Err(_) => {
                            left.pop_front();
                            break;
                        }
                    },
                };
                let home = left.pop_front();
                found.extend(home.zip(status).map(|(home, status)| (home.path().to_owned(), status)));
            }
        }
        Found(found)
    }

    /// Begins to read them in this order, one answer each.
    async fn begin(
        &self,
        homes: Vec<ProfileHome>,
        read: impl Fn(&ProfileHome) -> Option<RuntimeStatus> + Clone + Send + 'static,
    ) -> mpsc::Receiver<Option<RuntimeStatus>> {
        let (sender, statuses) = mpsc::channel(homes.len());
        let job = {
            let (homes, read, sender) = (homes.clone(), read.clone(), sender.clone());
            self.job(homes, read, sender)
        };
        let thread = std::thread::Builder::new().name("status".to_owned()).stack_size(256 * 1024);
        if thread.spawn(job).is_err() {
            // Where no thread can be made, there are those of the pool; all answers have room in the channel.
            let read = hermes_host::blocking::run(self.job(homes, read, sender));
            let _ = tokio::time::timeout(LONGEST, read).await;
        }
        statuses
    }

    fn job(
        &self,
        homes: Vec<ProfileHome>,
        read: impl Fn(&ProfileHome) -> Option<RuntimeStatus> + Send + 'static,
        answers: mpsc::Sender<Option<RuntimeStatus>>,
    ) -> impl FnOnce() + Send + 'static {
        let files = self.clone();
        move || {
            for home in homes {
                let status = read(&home);
                let wanted = files.stuck(|stuck| {
                    let given_up = stuck.remove(home.path());
                    !given_up && answers.try_send(status).is_ok()
                });
                if !wanted {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pid: u32) -> RuntimeStatus {
        RuntimeStatus::read(format!(r#"{{"pid":{pid},"platforms":{{}}}}"#).as_bytes()).unwrap()
    }

    /// 14: who does not answer hides nobody, is not asked again while it hangs, and is asked again afterwards.
    #[tokio::test]
    async fn a_home_that_hangs_hides_no_other() {
        let homes: Vec<_> = ["/a", "/b", "/c", "/d"].map(ProfileHome::new).into();
        let files = StatusFiles::default();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let read = {
            let (held, asked) = (Arc::clone(&held), Arc::clone(&asked));
            move |home: &ProfileHome| {
                asked.lock().unwrap().push(home.path().to_string());
                if home.path() == "/b" {
                    let _ = held.lock().unwrap().recv();
                }
                Some(status(7))
            }
        };
        for _ in 0..2 {
            let found = files.read_with(homes.clone(), read.clone()).await;
            assert_eq!(
                ["/a", "/b", "/c", "/d"].map(|home| found.of(home.into()).is_some()),
                [true, false, true, true]
            );
        }
        assert_eq!(asked.lock().unwrap().iter().filter(|home| *home == "/b").count(), 1);
        drop(release);
        while !files.stuck(|stuck| stuck.is_empty()) {
            tokio::task::yield_now().await;
        }
        let found = files.read_with(homes.clone(), read).await;
        assert!(found.of("/b".into()).is_some());
    }

    /// 33: a status file is neither a way to another file nor to the reader's terminal.
    #[test]
    fn a_status_file_is_read_only_as_one_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let homes = Utf8Path::from_path(dir.path()).unwrap();
        let (coder, ops) = (ProfileHome::new(homes.join("coder")), ProfileHome::new(homes.join("ops")));
        for home in [&ops, &coder] {
            fs_err::create_dir_all(home.path()).unwrap();
        }
        fs_err::write(ops.runtime_status(), r#"{"pid":7,"platforms":{}}"#).unwrap();
        std::os::unix::fs::symlink(ops.runtime_status(), coder.runtime_status()).unwrap();
        assert!(read(&coder).is_none(), "a link is not followed");
        fs_err::remove_file(coder.runtime_status()).unwrap();
        nix::unistd::mkfifo(coder.runtime_status().as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&coder).is_none(), "nobody is waited for");
        fs_err::remove_file(coder.runtime_status()).unwrap();
        let evil = r#"{"pid":7,"gateway_state":"x","exit_reason":"\u001b[2Jboo","platforms":{"\u001b]0;t\u0007":{"state":"\u009b"}}}"#;
        fs_err::write(coder.runtime_status(), evil).unwrap();
        let status = read(&coder).unwrap();
        assert_eq!(status.exit_reason.as_deref(), Some("\\u{1b}[2Jboo"));
        assert_eq!(status.platforms["\\u{1b}]0;t\\u{7}"].state, "\\u{9b}");
    }
}
