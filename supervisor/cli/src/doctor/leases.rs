//! Other programs that are at work in a profile's sessions, as its database tells: who is waited for, and whether there is one whose
//! process cannot be seen from here.

use hermes_host::clock;
use hermes_host::database::{LookError, UNSEEN_FOR, UNSEEN_PROCESSES, look_into};
use hermes_wire::{ProfileHome, ProfileName};
use rusqlite::{Connection, OptionalExtension as _};

use super::{Finding, Grade, Section};

/// Longest text of the database that is repeated.
const SHOWN: usize = 400;

/// A database that cannot be read, or has no such tables, is for others to speak of.
pub(super) fn check(name: &ProfileName, home: &ProfileHome) -> Vec<Finding> {
    let path = home.state_db();
    let found = |code: &'static str, message: String| {
        Finding::new(Section::Profiles, Grade::Warning, code, message).of(name).at(&path)
    };
    let Ok(db) = look_into(&path) else { return Vec::new() };
    let mut findings = Vec::new();
    if let Ok(Some((waiting, why))) = waiting(&db) {
        let shown: String = why.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        let message = format!("{waiting} message(s) wait for their session: {shown}");
        let next = "they are answered when the other program is done, or its process is gone";
        findings.push(found("session_at_work", message).next(next));
    }
    if let Ok(Some(at)) = unseen(&db) {
        let days = clock::utc().as_second().saturating_sub(at) / 86_400;
        let message = format!(
            "another program works in its sessions whose process cannot be seen from here ({}), as in a container that shares the home: \
             each may take a session from the other while its turn runs",
            if days <= 0 { "noticed today".to_owned() } else { format!("last noticed {days} day(s) ago") }
        );
        let next = "run both where they see each other's processes, or give each a home of its own";
        findings.push(found("unseen_program", message).next(next));
    }
    findings
}

/// How many messages wait for another program, and what is said of that.
fn waiting(db: &Connection) -> Result<Option<(i64, String)>, LookError> {
    let query = "SELECT count(*), COALESCE(min(error), '') FROM hermes_inbox WHERE state = 'postponed' AND fault = 'leased'";
    let (waiting, why) = db.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((waiting > 0).then_some((waiting, why)))
}

/// When such a program was last noticed, unless that is too long ago to mean anything.
fn unseen(db: &Connection) -> Result<Option<i64>, LookError> {
    let query = "SELECT CAST(value AS INTEGER) FROM state_meta WHERE key = ?1";
    let at: Option<i64> = db.query_row(query, [UNSEEN_PROCESSES], |row| row.get(0)).optional()?;
    Ok(at.filter(|at| clock::utc().as_second().saturating_sub(*at) < UNSEEN_FOR))
}
