//! `hermes profile export`.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::exit;

use super::super::Call;
use super::super::output::Output;
use super::existing;
use super::progress::Progress;
use crate::error::HermesError;
use crate::profile::error::ProfileError;
use crate::profile::export::{self, Exported, Plan};

/// Most lines about one kind of thing.
const LINES: usize = 20;

/// What was typed.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) output: Option<Utf8PathBuf>,
    pub(super) history: bool,
    pub(super) allow: &'a [String],
    pub(super) json: bool,
}

pub(super) fn run(asked: &Asked<'_>, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let name = existing(asked.name, &selection.root)?;
    if !selection.root.profile(&name).path().is_dir() {
        return Err(ProfileError::Missing(name).into());
    }
    let typed = asked.name.trim();
    let output = output_path(asked.output.as_deref(), typed, &call.env.current_dir);
    let plan = Plan {
        root: &selection.root,
        name: &name,
        output: &output,
        history: asked.history,
        allow: asked.allow,
    };
    let mut progress = Progress::new("read", true);
    let done = export::export(&plan, &mut |bytes| progress.at(bytes));
    drop(progress);
    let done = done?;
    if asked.json {
        out.line(&format!("{:#}", json(&plan, &done)))?;
    } else {
        out.write(&text(typed, &plan, &done))?;
    }
    Ok(exit::OK)
}

/// The archive's path: one `.tar.gz` or `.tgz` at its end is replaced by `.tar.gz`, anything else gets it.
fn output_path(asked: Option<&Utf8Path>, name: &str, dir: &Utf8Path) -> Utf8PathBuf {
    let asked = asked.map_or(name, Utf8Path::as_str).trim_end_matches('/');
    let asked = if asked.is_empty() { name } else { asked };
    let stem = asked.strip_suffix(".tar.gz").or_else(|| asked.strip_suffix(".tgz")).unwrap_or(asked);
    let mut path = Utf8PathBuf::new();
    for part in dir.join(format!("{stem}.tar.gz")).components() {
        match part {
            camino::Utf8Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

fn text(typed: &str, plan: &Plan<'_>, done: &Exported) -> String {
    let mut text = format!("✓ Exported '{typed}' to {}\n", plan.output);
    let _ = writeln!(
        text,
        "  {} entries, {}, packed {}; credentials are not in it",
        done.entries,
        size(done.bytes),
        size(done.packed)
    );
    match done.databases.len() {
        0 => {}
        n => {
            let names: Vec<_> = done.databases.iter().take(LINES).map(|path| path.as_str()).collect();
            let more = if n > LINES { format!(" and {} more", n - LINES) } else { String::new() };
            let _ = writeln!(text, "  Databases, each as of one instant: {}{more}", names.join(", "));
        }
    }
    if !done.replaced.is_empty() {
        text += "  Secrets replaced by placeholders (set the variables in .env, or write the values back, where it is imported):\n";
    }
    list(
        &mut text,
        done.replaced.iter().map(|(file, r)| format!("    {file}: {} → ${{{}}}", r.key, r.variable)),
    );
    for file in &done.comments {
        let _ = writeln!(text, "  Removed keys from comments in {file}");
    }
    list(&mut text, done.left_out.iter().map(|(path, why)| format!("⚠ left out {path}: {why}")));
    if !done.foreign.is_empty() {
        let (n, names) =
            (done.foreign.len(), done.foreign.iter().take(LINES).map(String::as_str).collect::<Vec<_>>());
        let more = if n > LINES { ", …" } else { "" };
        let _ = writeln!(
            text,
            "  Not in it, because an archive of `default` takes only what belongs to a profile: {}{more}",
            names.join(", ")
        );
    }
    list(
        &mut text,
        done.as_they_are.iter().map(|path| format!("⚠ {path} is no whole database; it was copied as it is")),
    );
    if let Some(why) = &done.too_large {
        let _ = writeln!(text, "⚠ `hermes profile import` will not take this archive: {why}");
    }
    text
}

fn list(text: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(LINES);
    lines.take(LINES).for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    if more > 0 {
        let _ = writeln!(text, "    and {more} more (--json lists all)");
    }
}

/// Bytes as a person reads them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn json(plan: &Plan<'_>, done: &Exported) -> serde_json::Value {
    let replaced: Vec<_> = done
        .replaced
        .iter()
        .map(|(file, r)| serde_json::json!({ "file": file, "key": r.key, "variable": r.variable }))
        .collect();
    let left_out: Vec<_> =
        done.left_out.iter().map(|(path, why)| serde_json::json!({ "path": path, "reason": why })).collect();
    serde_json::json!({
        "schema": 1,
        "name": plan.name,
        "archive": plan.output,
        "entries": done.entries,
        "bytes": done.bytes,
        "packed_bytes": done.packed,
        "history": plan.history,
        "databases": done.databases,
        "copied_as_they_are": done.as_they_are,
        "replaced": replaced,
        "comments_cleaned": done.comments,
        "left_out": left_out,
        "not_of_the_profile": done.foreign,
        "importable": done.too_large.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_gets_its_ending() {
        let path = |asked: Option<&str>| {
            output_path(asked.map(Utf8Path::new), "Coder", Utf8Path::new("/w")).into_string()
        };
        for (asked, path_) in [
            (None, "/w/Coder.tar.gz"),
            (Some("d.tgz"), "/w/d.tar.gz"),
            (Some("d.tar.gz"), "/w/d.tar.gz"),
            (Some("plain"), "/w/plain.tar.gz"),
            (Some("foo.zip"), "/w/foo.zip.tar.gz"),
            (Some("a.tar.gz.tgz"), "/w/a.tar.gz.tar.gz"),
            (Some("./a/b"), "/w/a/b.tar.gz"),
            (Some("/x/d/"), "/x/d.tar.gz"),
            (Some(""), "/w/Coder.tar.gz"),
        ] {
            assert_eq!(path(asked), path_);
        }
    }
}
