//! `hermes sessions repair`.

use std::fmt::Write as _;

use hermes_wire::exit;
use hermes_worker::stored::repair::{self, Faults, Mended};
use serde_json::json;

use super::super::Call;
use super::super::output::Output;
use super::look;
use super::words::{grouped, many};
use crate::error::{HermesError, StoredError};
use crate::stored;

pub(super) fn run(check: bool, as_json: bool, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let path = selection.home().state_db();
    let Some(look) = look else {
        if as_json {
            out.line(&format!("{:#}", json!({"schema": 1, "path": path, "whole": true, "faults": null})))?;
        } else {
            out.line(&format!("✓ Nothing was stored yet: there is no {path}"))?;
        }
        return Ok(exit::OK);
    };
    let faults = look.faults().map_err(StoredError::from)?;
    drop(look);
    let mended = if check || faults.is_none() || faults.is_left() {
        None
    } else {
        if !as_json {
            out.write(&format!("{path}\n{}", lines(&faults)))?;
        }
        // Its worker holds what it has read, and would write that over what is mended.
        if stored::is_served(&selection, &call.env)? {
            return Err(StoredError::Served { profile: selection.profile.clone() }.into());
        }
        stored::refuse_beside_predecessor(&selection)?;
        Some(repair::mend(&selection.home(), &faults).map_err(StoredError::from)?)
    };
    let left = mended.as_ref().map_or(&faults, |mended| &mended.left);
    let is_whole = left.is_none();
    if as_json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "path": path,
            "whole": is_whole,
            "faults": value(&faults),
            "mended": mended.as_ref().map(|mended| json!({
                "copy": mended.copy,
                "adopted_sessions": mended.adopted,
                "search_index_rebuilt": mended.reindexed,
                "rows_in_new_file": mended.saved,
                "incomplete_tables": mended.incomplete,
                "left": value(&mended.left),
            })),
        });
        out.line(&format!("{value:#}"))?;
    } else {
        match &mended {
            Some(mended) => out.write(&told(mended))?,
            None if is_whole => out.line(&format!("✓ {path} and its search index are whole"))?,
            None => out.write(&format!("{path}\n{}", lines(&faults)))?,
        }
        if check && !is_whole && !faults.is_left() {
            out.line("`hermes sessions repair` mends it; a copy from before stays")?;
        }
    }
    // A newer program's index is that program's.
    Ok(if is_whole || left.is_left() { exit::OK } else { exit::FAILURE })
}

fn value(faults: &Faults) -> serde_json::Value {
    json!({
        "damage": faults.damage,
        "orphans": faults.orphans,
        "unindexed": faults.unindexed,
        "no_index": faults.no_index,
        "foreign_index": faults.foreign_index,
    })
}

fn lines(faults: &Faults) -> String {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut text = String::new();
    let mut line = |said: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  ✗ {said}");
    };
    for said in &faults.damage {
        line(&format!("damage: {}", super::words::flat(said)));
    }
    if faults.orphans > 0 {
        line(&format!("sessions that messages belong to are missing: {}", grouped(number(faults.orphans))));
    }
    if faults.no_index {
        line(if faults.foreign_index {
            "the search index of a newer program is stale: that program makes it anew when it opens the file"
        } else {
            "the search index is missing or stale"
        });
    }
    if faults.unindexed > 0 {
        line(&format!("{} not as the search index has them", many(number(faults.unindexed), "message")));
    }
    text
}

fn told(mended: &Mended) -> String {
    let mut text = String::new();
    let mut line = |said: String| {
        let _ = writeln!(text, "{said}");
    };
    line(format!("✓ A copy from before is {}", mended.copy));
    if mended.adopted > 0 {
        let adopted = many(i64::try_from(mended.adopted).unwrap_or(i64::MAX), "session");
        line(format!("✓ Made {adopted} for messages that had none (source `recovered`)"));
    }
    if mended.reindexed {
        line("✓ Made the search index anew".to_owned());
    }
    if let Some(rows) = mended.saved {
        let rows = grouped(i64::try_from(rows).unwrap_or(i64::MAX));
        line(format!("✓ Saved {rows} rows into a new file, which has its place"));
    }
    for table in &mended.incomplete {
        line(format!("⚠ Not every row of `{table}` could be read; what is missing is in the copy"));
    }
    if mended.left.is_none() {
        line("✓ It is whole now".to_owned());
    } else {
        line("What is still wrong:".to_owned());
        text += &lines(&mended.left);
    }
    text
}
