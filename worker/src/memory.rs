//! What a profile keeps between sessions: `memories/MEMORY.md`, the model's notes, and `memories/USER.md`, its notes on the user.
//!
//! # Theory of operation
//!
//! Format, limits and answers are 0.19.0's (`entries`, pure), so either program goes on with the other's files. A change is made under the
//! lock that the other program takes as well (`<file>.lock`), on what is in the file at that moment, and the file is replaced whole. A
//! file that would not come back as it is, because somebody wrote into it by hand, is not rewritten: a copy is made beside it, once, and
//! the model is told; only an entry can be put behind what is there.
//!
//! The prompt of a session has the entries as they were when the session began. An entry that looks like an attack stays in the
//! file, where it can be seen and removed, and is named in the prompt in place of its text.

mod entries;

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{Memory, Notes};
use hermes_host::{clock, disk, file, wait};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use serde_json::{Map, Value, json};

use crate::threats::{self, Scope};
use entries::{Change, Changed, Refusal};

/// Largest file that is read, in bytes.
const MOST: usize = 1024 * 1024;
/// How long another program's change is waited for, and between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Failures of one turn after which the model is told to go on without.
const FAILURES: u32 = 3;
/// Around the title of a block.
const RULE: usize = 46;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The model's notes.
    Memory,
    /// Its notes on the user.
    User,
}

impl Target {
    /// Both, in the order of the prompt.
    pub const ALL: [Self; 2] = [Self::Memory, Self::User];

    /// What the model calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::User => "user",
        }
    }

    /// The name of its file.
    fn file(self) -> &'static str {
        match self {
            Self::Memory => "MEMORY.md",
            Self::User => "USER.md",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Memory => "MEMORY (your personal notes)",
            Self::User => "USER PROFILE (who the user is)",
        }
    }

    /// Its settings.
    pub fn notes(self, settings: &Memory) -> Notes {
        match self {
            Self::Memory => settings.notes,
            Self::User => settings.user,
        }
    }
}

/// Where a memory is.
pub fn path(home: &ProfileHome, target: Target) -> Utf8PathBuf {
    home.path().join("memories").join(target.file())
}

/// What one memory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its entries, and what makes each look like an attack: then the model is not shown it.
    pub entries: Vec<(String, Vec<String>)>,
    /// How full it is, in words.
    pub usage: String,
}

/// Reads a memory; none where there is no file. Blocks.
pub fn read(home: &ProfileHome, target: Target, settings: &Memory) -> io::Result<Contents> {
    let file = read_text(&path(home, target))?;
    let entries = entries::parse(&file);
    let usage = entries::usage(entries::size(&entries), target.notes(settings).limit);
    let judged = entries.into_iter().map(|entry| {
        let found = threats::found(&entry, Scope::Strict);
        (entry, found)
    });
    Ok(Contents { entries: judged.collect(), usage })
}

/// The text of a file; empty where there is none.
fn read_text(path: &Utf8Path) -> io::Result<String> {
    let bytes = disk::read_bounded(path, MOST).or_absent()?.unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The text of a memory's file; empty for one that is off or not there, or cannot be read, which is logged. Blocks.
pub(crate) fn file_text(home: &ProfileHome, target: Target, settings: &Memory) -> String {
    if !target.notes(settings).enabled {
        return String::new();
    }
    let path = path(home, target);
    read_text(&path).unwrap_or_else(|error| {
        tracing::warn!(file = %path, %error, "going on without a memory that cannot be read");
        String::new()
    })
}

/// The block of the prompt, made of a file's text; nothing for one without entries.
pub(crate) fn block(file: &str, target: Target, settings: &Memory) -> String {
    let judge = |entry: String| {
        let found = threats::found(&entry, Scope::Strict);
        shown(entry, &found, target)
    };
    let entries: Vec<String> = entries::parse(file).into_iter().map(judge).collect();
    if entries.is_empty() {
        return String::new();
    }
    let usage = entries::usage(entries::size(&entries), target.notes(settings).limit);
    let rule = "═".repeat(RULE);
    format!("{rule}\n{} [{usage}]\n{rule}\n{}", target.title(), entries::text(&entries))
}

fn shown(entry: String, found: &[String], target: Target) -> String {
    if found.is_empty() || entry.starts_with("[BLOCKED:") {
        return entry;
    }
    let (file, found) = (target.file(), found.join(", "));
    tracing::warn!(file, found, "an entry of a memory is kept out of the prompt");
    format!(
        "[BLOCKED: {file} entry contained threat pattern(s): {found}. Removed from system prompt; use memory(action=remove) to \
         delete the original.]"
    )
}

/// Changes a memory as the arguments of a model say, and gives what it is told. `failures` counts what failed in its turn. Blocks.
pub(crate) fn change(
    home: &ProfileHome,
    settings: &Memory,
    arguments: &Map<String, Value>,
    failures: &mut u32,
) -> Value {
    let refused = |error: String| json!({"success": false, "error": error});
    let target = match arguments.get("target") {
        None | Some(Value::Null) => Target::Memory,
        Some(name) => {
            let Some(target) = Target::ALL.into_iter().find(|target| name == target.name()) else {
                let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
                return refused(format!("Invalid target '{name}'. Use 'memory' or 'user'."));
            };
            target
        }
    };
    let notes = target.notes(settings);
    if !notes.enabled {
        return refused(
            "Memory is not available. It may be disabled in config or this environment.".to_owned(),
        );
    }
    if settings.write_approval {
        return refused(
            "Nothing was written: memory.write_approval asks for somebody's approval, and nobody can be asked here.".to_owned(),
        );
    }
    let file = path(home, target);
    match changed(&file, arguments, notes.limit) {
        Ok(Ok(Changed { entries, message })) => {
            *failures = 0;
            json!({
                "success": true,
                "done": true,
                "target": target.name(),
                "usage": entries::usage(entries::size(&entries), notes.limit),
                "entry_count": entries.len(),
                "message": message,
                "note": "Write saved. This update is complete — do not repeat it.",
            })
        }
        Ok(Err(refusal)) => {
            *failures += u32::from(refusal.again);
            if refusal.again && *failures > FAILURES {
                return json!({
                    "success": false,
                    "done": true,
                    "error": format!(
                        "Memory consolidation failed {failures} times this turn. Stop retrying memory calls — leave memory unchanged \
                         for now and continue with your reply to the user. The fact can be saved in a later turn."
                    ),
                });
            }
            let mut said = Map::from_iter([("success".to_owned(), Value::Bool(false))]);
            said.extend(refusal.said);
            Value::Object(said)
        }
        Err(error) => refused(format!("Failed to write memory file {file}: {error}")),
    }
}

fn changed(
    path: &Utf8Path,
    arguments: &Map<String, Value>,
    limit: usize,
) -> io::Result<Result<Changed, Refusal>> {
    if let Some(dir) = path.parent() {
        file::make_dirs(dir, 0o700)?;
    }
    let _lock = lock(path)?;
    let before = read_text(path)?;
    let old = entries::parse(&before);
    let change = match entries::change(arguments, &old, limit) {
        Ok(change) => change,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let is_appended = matches!(change, Change::Add(_));
    if !is_appended && !entries::is_whole(&before, limit) {
        return Ok(Err(drifted(path, &before)));
    }
    let changed = match entries::apply(&change, &old, limit) {
        Ok(changed) => changed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if changed.entries == old {
        return Ok(Ok(changed));
    }
    let kept = before.trim_end();
    let text = match (is_appended && !kept.is_empty()).then(|| changed.entries.last()).flatten() {
        // What is there stays as somebody wrote it.
        Some(new) => format!("{kept}{}{new}", entries::SEPARATOR),
        None => entries::text(&changed.entries),
    };
    // A link leads to where the user keeps it.
    disk::write_atomic(&disk::resolve(path)?, text.as_bytes(), true)?;
    Ok(Ok(changed))
}

/// Held until it is dropped.
fn lock(path: &Utf8Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true);
    let lock = disk::open_or_create(&Utf8PathBuf::from(format!("{path}.lock")), &options)?;
    let end = clock::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) if clock::now() < end => wait::pause(LOOK),
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "another program holds its lock"));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Says that a file was written by hand, and keeps a copy of it, unless there is one already.
fn drifted(path: &Utf8Path, text: &str) -> Refusal {
    let (name, kept) = (path.file_name().unwrap_or_default(), backup(path, text));
    let kept =
        kept.map_or_else(|(path, _)| format!("{path} (BACKUP FAILED — file unchanged on disk)"), Into::into);
    let mut refusal = Refusal::new(format!(
        "Refusing to write {name}: file on disk has content that wouldn't round-trip through the memory tool (likely added by the \
         patch tool, a shell append, a manual edit, or a concurrent session). A snapshot was saved to {kept}. Resolve the drift \
         first — either rewrite the file as a clean §-delimited list of entries, or move the extra content out — then retry. This \
         guard exists to prevent silent data loss."
    ));
    refusal.said.insert("drift_backup".to_owned(), kept.into());
    refusal.said.insert(
        "remediation".to_owned(),
        "Open the .bak file, integrate the missing entries into the memory tool one at a time via memory(action=add, content=...), \
         then remove or rewrite the original file to a clean state."
            .into(),
    );
    refusal
}

fn backup(path: &Utf8Path, text: &str) -> Result<Utf8PathBuf, (Utf8PathBuf, io::Error)> {
    let prefix = format!("{}.bak.", path.file_name().unwrap_or_default());
    let older = path.parent().and_then(|dir| dir.read_dir_utf8().ok()).into_iter().flatten().flatten();
    let same = |at: &Utf8Path| disk::read_bounded(at, MOST).is_ok_and(|bytes| bytes == text.as_bytes());
    let mut older = older.filter(|entry| entry.file_name().starts_with(&prefix));
    if let Some(known) = older.find(|entry| same(entry.path())) {
        return Ok(known.into_path());
    }
    let copy = path.with_file_name(format!("{prefix}{}", clock::utc().as_second()));
    match disk::write_new(&copy, text.as_bytes()) {
        Ok(()) => Ok(copy),
        Err(error) => Err((copy, error)),
    }
}

#[cfg(test)]
mod tests;
