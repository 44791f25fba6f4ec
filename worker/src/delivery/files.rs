//! Files that go with answers: taken out of the text, judged, kept in the ledger as rows of their own, and sent.
//!
//! A file is judged twice: when its answer is over, so that the text can say what does not go out and why, and when it is sent, because
//! it may be another one by then. What is sent is the file that was judged last, not whatever is at its path.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use camino::Utf8PathBuf;
use hermes_host::blocking;
use rusqlite::{Connection, params};

use super::ledger::{self, Due, Letter};
use super::outbound::{File, Outbound, Sent, Unsent};
use super::parcel::Parcel;
use super::then::unsent_file;
use crate::formatting::media::{Media, media};
use crate::tools::outbox::{Leaves, Outbox};

/// Most files of one message.
const MOST: usize = 32;
/// Longest name that a file is sent under, in characters.
const NAME: usize = 120;

/// What goes out: a text, and files behind it. One of them may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outgoing {
    pub(crate) text: String,
    pub(crate) files: Vec<Parcel>,
}

impl Outgoing {
    /// A text alone.
    pub(crate) fn text(text: &str) -> Self {
        Self { text: text.to_owned(), files: Vec::new() }
    }

    /// What stands for all of it where only a text can.
    pub(crate) fn shown(&self) -> String {
        if self.text.trim().is_empty() { names(&self.files) } else { self.text.clone() }
    }
}

fn names(files: &[Parcel]) -> String {
    files.iter().map(|file| format!("📎 {}", file.name)).collect::<Vec<_>>().join("\n")
}

/// Takes an answer apart for a way that carries files of at most so many bytes. What does not go out is named in the text.
pub(super) async fn packed(outbox: Option<Arc<Outbox>>, most: Option<u64>, answer: &str) -> Outgoing {
    let Media { text, paths, as_document } = media(answer);
    if paths.is_empty() {
        return Outgoing { text, files: Vec::new() };
    }
    let judged = blocking::run(move || judge(outbox.as_deref(), most, paths, as_document)).await;
    let (files, unsent) =
        judged.unwrap_or_else(|lost| (Vec::new(), vec![unsent_file("files", &lost.to_string())]));
    let mut text = text;
    for line in unsent {
        if !text.is_empty() {
            text.push_str(if text.contains("\n⚠️ Not sent") { "\n" } else { "\n\n" });
        }
        text.push_str(&line);
    }
    Outgoing { text, files }
}

fn judge(
    outbox: Option<&Outbox>,
    most: Option<u64>,
    paths: Vec<String>,
    as_document: bool,
) -> (Vec<Parcel>, Vec<String>) {
    let (mut files, mut unsent) = (Vec::new(), Vec::new());
    for path in paths {
        let name = name_of(&path);
        let judged = match (outbox, most) {
            (Some(outbox), Some(most)) if files.len() < MOST => {
                outbox.judge(&path).and_then(|found| fits(&found, most).map(|()| found))
            }
            (Some(_), Some(_)) => Err(format!("{MOST} files go with one message")),
            _ => Err("this chat carries no files".to_owned()),
        };
        match judged {
            Ok(Leaves { path, .. }) => {
                let media_type =
                    mime_guess::from_path(&path).first_or_octet_stream().essence_str().to_owned();
                files.push(Parcel { path, name, media_type, shown: !as_document });
            }
            Err(reason) => unsent.push(unsent_file(&name, &reason)),
        }
    }
    (files, unsent)
}

fn fits(found: &Leaves, most: u64) -> Result<(), String> {
    if found.length <= most {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(format!("it has {} MiB, and {} MiB are the most", mib(found.length), mib(most)))
}

/// The last part of a path, as it is shown.
fn name_of(path: &str) -> String {
    let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("file");
    name.chars().filter(|c| !c.is_control()).take(NAME).collect()
}

/// Adds what goes out, behind all else to its chat. `key`: the first row gets it, where there is one.
pub(crate) fn add(
    db: &Connection,
    key: Option<&str>,
    letter: &Letter<'_>,
    files: &[Parcel],
    now: f64,
) -> rusqlite::Result<()> {
    let Letter { session, platform, chat_id, target, text } = *letter;
    let mut key = key;
    let mut keyed = |db: &Connection| match key.take() {
        Some(key) => db
            .prepare_cached("UPDATE hermes_delivery SET key = ?1 WHERE id = last_insert_rowid()")?
            .execute([key])
            .map(drop),
        None => Ok(()),
    };
    if !text.is_empty() {
        ledger::add(db, session, platform, chat_id, target, text, now)?;
        keyed(db)?;
    }
    for file in files {
        // An older worker sends what stands in the row's text.
        ledger::add(db, session, platform, chat_id, target, &names(std::slice::from_ref(file)), now)?;
        let json = serde_json::to_string(file).expect("texts always serialise");
        db.prepare_cached("UPDATE hermes_delivery SET file = ?1 WHERE id = last_insert_rowid()")?
            .execute(params![json])?;
        keyed(db)?;
    }
    Ok(())
}

/// Sends a file, judged again.
pub(super) async fn send(
    way: &dyn Outbound,
    outbox: Option<Arc<Outbox>>,
    due: &Due,
    parcel: &Parcel,
) -> Result<Sent, Unsent> {
    let most =
        way.abilities_for(&due.target).files.ok_or_else(|| Unsent::never("this chat carries no files"))?;
    let outbox = outbox.ok_or_else(|| Unsent::never("files do not leave here"))?;
    let path = parcel.path.to_string();
    let judged = blocking::run(move || outbox.judge(&path)).await;
    let leaves = judged.map_err(|lost| Unsent::later(lost.to_string()))?.map_err(Unsent::never)?;
    fits(&leaves, most).map_err(Unsent::never)?;
    let open = open_as(&leaves);
    let file = File {
        path: &open,
        name: &parcel.name,
        media_type: &parcel.media_type,
        shown: parcel.shown,
        key: &due.key(),
        repeated: due.ambiguous,
    };
    way.send_file(&due.target, file).await
}

/// A path of the open file itself, where there is one.
fn open_as(leaves: &Leaves) -> Utf8PathBuf {
    let open = Utf8PathBuf::from(format!("/proc/self/fd/{}", leaves.file.as_raw_fd()));
    if cfg!(target_os = "linux") && open.exists() { open } else { leaves.path.clone() }
}
