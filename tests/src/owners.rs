//! Homes of another user; only root can make them.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;

/// Gives trees to a user and a group of the same number. `false`, with the reason written down: only root can, and the test is to
/// return.
#[must_use = "the test returns where this is false"]
pub fn give(trees: &[&Utf8Path], user: u32) -> bool {
    if !nix::unistd::geteuid().is_root() {
        crate::tools::skip("only root gives files away");
        return false;
    }
    for tree in trees {
        each(tree, &mut |path| std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap());
    }
    true
}

/// What in a tree belongs to somebody else.
pub fn strangers(tree: &Utf8Path, user: u32) -> Vec<String> {
    let mut found = Vec::new();
    each(tree, &mut |path| {
        // A file that a running process is about to rename or remove.
        let Ok(meta) = fs_err::symlink_metadata(path) else { return };
        if (meta.uid(), meta.gid()) != (user, user) {
            found.push(format!("{path}: {}:{}", meta.uid(), meta.gid()));
        }
    });
    found.sort();
    found
}

fn each(path: &Utf8Path, visit: &mut dyn FnMut(&Utf8Path)) {
    visit(path);
    let is_dir = fs_err::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    for entry in is_dir.then(|| path.read_dir_utf8().ok()).flatten().into_iter().flatten().flatten() {
        each(entry.path(), visit);
    }
}
