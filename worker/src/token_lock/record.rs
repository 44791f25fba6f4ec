//! What a lock file says, in the Python program's form, and whose it is.
//!
//! Its rules for a file that counts for nothing: it cannot be read as a record, or names no process; that process is gone, is another one
//! by its time of start, is no gateway by its command line, or is halted.

use camino::Utf8Path;
use hermes_host::disk;
use hermes_wire::contract::pid_record;
use serde::{Deserialize, Serialize};

use super::Me;
use crate::store::Owner;

/// Longest command line that is read, in bytes.
const COMMAND: u64 = 4096;

/// The file. Keys and their order are the Python program's; those in `metadata` but the platform are ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) argv: Vec<String>,
    #[serde(default)]
    pub(super) start_time: Option<u64>,
    #[serde(default)]
    pub(super) scope: String,
    #[serde(default)]
    pub(super) identity_hash: String,
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) updated_at: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) platform: String,
    /// Whose bot it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<String>,
    /// The home of that profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) home: Option<String>,
    /// The gateway that decides which process of that profile connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) supervisor_pid: Option<u32>,
}

/// Whose a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// This process's, or that of an earlier process of the same profile under the same gateway, on whose word this one connects.
    Mine,
    /// Nobody's any more.
    Nobodys,
    /// Somebody uses it.
    Used(Box<Record>),
}

/// Whether it is the very file of this process.
pub(super) fn is_of(text: &str, me: &Me) -> bool {
    serde_json::from_str::<Record>(text).is_ok_and(|record| is_process(&record, me))
}

fn is_process(record: &Record, me: &Me) -> bool {
    let (then, now) = (record.start_time.unwrap_or(0), me.process.start_time);
    record.pid == me.process.pid && (then == now || then == 0 || now == 0)
}

/// Whose it is, by the processes that run now.
pub(super) fn judge(text: &str, me: &Me) -> Judged {
    judge_by(text, me, &is_in_use)
}

fn judge_by(text: &str, me: &Me, is_in_use: &dyn Fn(&Record) -> bool) -> Judged {
    let Ok(record) = serde_json::from_str::<Record>(text) else { return Judged::Nobodys };
    let of_my_gateway = me.supervisor.is_some()
        && record.metadata.supervisor_pid == me.supervisor
        && record.metadata.home.as_deref() == Some(me.home.as_str());
    if is_process(&record, me) || of_my_gateway {
        Judged::Mine
    } else if is_in_use(&record) {
        Judged::Used(Box::new(record))
    } else {
        Judged::Nobodys
    }
}

fn is_in_use(record: &Record) -> bool {
    let process = Owner { pid: record.pid, start_time: record.start_time.unwrap_or(0) };
    process.is_alive() && !is_halted(record.pid) && pid_record::is_gateway(&command(record))
}

/// Halted by a signal or a debugger.
fn is_halted(pid: u32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

/// Its command line as it is now; as it was, where that cannot be seen.
fn command(record: &Record) -> Vec<String> {
    let path = format!("/proc/{}/cmdline", record.pid);
    let Ok(bytes) = disk::read_start(Utf8Path::new(&path), COMMAND) else { return record.argv.clone() };
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn me() -> Me {
        Me {
            process: Owner { pid: 77, start_time: 5 },
            profile: "coder".to_owned(),
            home: "/h/profiles/coder".to_owned(),
            supervisor: Some(70),
        }
    }

    /// A file of 0.19.0, as it writes it.
    const THEIRS: &str = r#"{"pid":626,"kind":"hermes-gateway","argv":["hermes","gateway","run"],"start_time":197806,"scope":"telegram-bot-token","identity_hash":"2f235a8a415a17ff","metadata":{"platform":"telegram"},"updated_at":"2026-11-21T00:36:41.164601+00:00"}"#;

    #[test]
    fn their_files_are_read_and_ours_have_their_form() {
        let record: Record = serde_json::from_str(THEIRS).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), THEIRS);
        assert!(matches!(judge_by(THEIRS, &me(), &|_| true), Judged::Used(who) if who.pid == 626));
        assert_eq!(judge_by(THEIRS, &me(), &|_| false), Judged::Nobodys);
    }

    #[test]
    fn what_names_nobody_is_nobodys() {
        for text in ["", "{}", "garbage", r#"{"pid":"x"}"#, r#"{"pid":-1}"#, "[]", r#"{"pid":null}"#] {
            assert_eq!(judge_by(text, &me(), &|_| true), Judged::Nobodys, "{text}");
        }
        // Processes that are gone, or no gateways.
        assert_eq!(judge(r#"{"pid":4194999}"#, &me()), Judged::Nobodys);
        let own = format!(r#"{{"pid":{}}}"#, std::process::id());
        assert_eq!(judge(&own, &me()), Judged::Nobodys, "a test is no gateway");
    }

    #[test]
    fn an_earlier_process_under_the_same_gateway_is_followed_and_no_other() {
        let of = |pid: u32, start: u64, home: &str, supervisor: u32| {
            format!(
                r#"{{"pid":{pid},"start_time":{start},"metadata":{{"home":"{home}","supervisor_pid":{supervisor}}}}}"#
            )
        };
        let judged = |text: &str| judge_by(text, &me(), &|_| true);
        assert_eq!(judged(&of(77, 5, "/x", 1)), Judged::Mine);
        assert_eq!(judged(&of(60, 4, "/h/profiles/coder", 70)), Judged::Mine);
        for other in
            [of(77, 6, "/x", 1), of(60, 4, "/h/profiles/ops", 70), of(60, 4, "/h/profiles/coder", 71)]
        {
            assert!(matches!(judged(&other), Judged::Used(_)), "{other}");
        }
        assert!(is_of(&of(77, 5, "/x", 1), &me()) && !is_of(&of(60, 4, "/h/profiles/coder", 70), &me()));
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_judged(text in ".{0,200}") {
            let _ = judge_by(&text, &me(), &|_| true);
        }
    }
}
