//! What git does that cannot be had back, or that overwrites what others did.

use super::super::words::Word;
use super::{has, operands};

/// Options of git itself that take a value.
const WITH_VALUE: [&str; 6] =
    ["-C", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--super-prefix"];

pub(super) fn is_dangerous(arguments: &[Word]) -> bool {
    let mut rest = arguments;
    while let [option, more @ ..] = rest {
        if option.text == "-c" {
            // A setting may name a program.
            let setting = more.first().map(|word| word.text.to_ascii_lowercase()).unwrap_or_default();
            let names =
                ["alias.", "core.", "filter.", "diff.", "sequence.", "gpg.", "credential.", "protocol."];
            if names.iter().any(|name| setting.starts_with(name)) || setting.contains('!') {
                return true;
            }
            rest = more.get(1..).unwrap_or_default();
        } else if WITH_VALUE.contains(&option.text.as_str()) {
            rest = more.get(1..).unwrap_or_default();
        } else if option.text.starts_with('-') {
            rest = more;
        } else {
            break;
        }
    }
    let Some((verb, arguments)) = rest.split_first() else { return false };
    let first = operands(arguments).next().map_or("", |word| word.text.as_str());
    match verb.text.as_str() {
        "push" => {
            let is_forced = |word: &Word| word.text.starts_with('+') || word.text.starts_with(':');
            has(
                arguments,
                "fd",
                &["force", "force-with-lease", "force-if-includes", "mirror", "delete", "prune"],
            ) || operands(arguments).skip(1).any(is_forced)
        }
        "reset" => has(arguments, "", &["hard", "merge", "keep"]),
        "clean" => has(arguments, "f", &["force"]) && !has(arguments, "n", &["dry-run"]),
        "branch" => {
            has(arguments, "D", &[]) || has(arguments, "df", &["delete"]) && has(arguments, "f", &["force"])
        }
        "tag" => has(arguments, "d", &["delete"]),
        "checkout" => {
            has(arguments, "f", &["force"])
                || arguments.iter().any(|word| word.text == "--" || word.text == ".")
        }
        "switch" => has(arguments, "fC", &["force", "discard-changes", "force-create"]),
        "restore" => !has(arguments, "S", &["staged"]) || has(arguments, "W", &["worktree"]),
        "stash" => ["drop", "clear"].contains(&first),
        "reflog" => ["expire", "delete"].contains(&first),
        "gc" => has(arguments, "", &["prune"]),
        "worktree" => first == "remove" && has(arguments, "f", &["force"]),
        "update-ref" => has(arguments, "d", &[]),
        "filter-branch" | "filter-repo" | "replace" => true,
        "remote" => ["remove", "rm", "set-url"].contains(&first),
        "submodule" => first == "deinit",
        "config" => {
            has(arguments, "", &["global", "system"])
                && (operands(arguments).nth(1).is_some()
                    || has(arguments, "", &["unset", "unset-all", "add"]))
        }
        _ => false,
    }
}
