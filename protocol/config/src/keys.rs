//! Warns of every key that nobody reads, by the one table of keys.
//!
//! In a file that a newer program wrote, what is not known here is most likely known there: such keys are named together, once, and
//! nobody is told to remove them. One that looks like a key of ours, misspelled, is asked about as in any other file.

use super::newer;
use super::reader::{At, Reader};
use super::schema::{Cursor, closest};
use hermes_wire::latest::Severity;

/// Names that are listed before the rest is only counted.
const NAMED: usize = 8;

/// Looks at the whole document.
pub(super) fn check(reader: &mut Reader<'_>, root: &At) {
    let version = newer::version(root.node());
    let mut strange = version.is_some().then(Vec::new);
    walk(reader, root, &Cursor::root(reader.registry), &mut strange);
    if let (Some(version), Some(first)) = (version, strange.iter().flatten().next()) {
        let all = strange.as_deref().unwrap_or_default();
        let names: Vec<_> = all.iter().take(NAMED).map(|at| format!("`{}`", at.path)).collect();
        let more = match all.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("not known here and not read: {}{more}", names.join(", "));
        let fix = format!(
            "They may be keys of the release that wrote this file (version {version} of the configuration): leave them, or correct \
             their names."
        );
        reader.warn("unknown_key", reader.place(first), message, &fix);
    }
    for platforms in [root.key("platforms"), root.key("gateway.platforms")] {
        for (name, at) in platforms.entries() {
            if reader.registry.find(&name).is_some() {
                continue;
            }
            let known: Vec<_> = reader.registry.shown().map(|platform| platform.name).collect();
            if let Some(close) = closest(&name, known.iter().copied()) {
                let message = format!("`{}` is not a known platform", at.path);
                reader.warn("unknown_key", reader.place(&at), message, &format!("Did you mean `{close}`?"));
            }
        }
    }
}

/// `strange` collects what may be another program's; without it, each is warned of.
fn walk(reader: &mut Reader<'_>, at: &At, cursor: &Cursor, strange: &mut Option<Vec<At>>) {
    // Where anything may stand, and in texts, there is nothing to find.
    if !cursor.has_children() {
        return;
    }
    for (key, below) in at.entries() {
        if let Some(cursor) = cursor.child(&key) {
            walk(reader, &below, &cursor, strange);
            continue;
        }
        // A guess is not cheap: nobody reads the thousandth.
        let full = reader.problems.is_full(Severity::Warning);
        let guess = if full { None } else { closest(&key, cursor.names()) };
        if let (None, Some(strange)) = (guess, strange.as_mut()) {
            strange.push(below);
            continue;
        }
        let message = format!("`{}` is not a known key and is not read", below.path);
        let fix = guess
            .map_or("Remove it, or correct its name.".to_owned(), |close| format!("Did you mean `{close}`?"));
        reader.warn("unknown_key", reader.place(&below), message, &fix);
    }
    // The items of a list are like the entries of a mapping of free names.
    if cursor.has_free_names() {
        for (below, n) in at.items().into_iter().zip(0usize..) {
            if let Some(cursor) = cursor.child(&n.to_string()) {
                walk(reader, &below, &cursor, strange);
            }
        }
    }
}
