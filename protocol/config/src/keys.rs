//! Warns of every key that nobody reads, by the one table of keys.

use super::reader::{At, Reader};
use super::schema::{Cursor, closest};
use hermes_wire::latest::Severity;

/// Looks at the whole document.
pub(super) fn check(reader: &mut Reader<'_>, root: &At) {
    walk(reader, root, &Cursor::root(reader.registry));
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

fn walk(reader: &mut Reader<'_>, at: &At, cursor: &Cursor) {
    // Where anything may stand, and in texts, there is nothing to find.
    if !cursor.has_children() {
        return;
    }
    for (key, below) in at.entries() {
        if let Some(cursor) = cursor.child(&key) {
            walk(reader, &below, &cursor);
            continue;
        }
        let message = format!("`{}` is not a known key and is not read", below.path);
        // A guess is not cheap: nobody reads the thousandth.
        let full = reader.problems.is_full(Severity::Warning);
        let guess = if full { None } else { closest(&key, cursor.names()) };
        let fix = guess
            .map_or("Remove it, or correct its name.".to_owned(), |close| format!("Did you mean `{close}`?"));
        reader.warn("unknown_key", reader.place(&below), message, &fix);
    }
    // The items of a list are like the entries of a mapping of free names.
    if cursor.has_free_names() {
        for (below, n) in at.items().into_iter().zip(0usize..) {
            if let Some(cursor) = cursor.child(&n.to_string()) {
                walk(reader, &below, &cursor);
            }
        }
    }
}
