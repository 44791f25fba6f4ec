//! 6: every command that a text names is one that there is.
//!
//! Looked at: what the sources can print (string literals and help texts, tests left out), what the snapshots show, and what
//! README, docs and bundled skills say. Each is parsed by the real command line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::{Cli, take_profile_flag};

/// Words that follow `hermes` in prose.
const PROSE: [&str; 4] = ["process", "subcommand", "database", "NAME"];
/// Pages about what 0.19.0 has and this does not.
const ABOUT_OTHERS: [&str; 1] = ["CHANGELOG.md"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn files(below: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(below).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// What Rust source outside of tests can print: its string literals, and the comments of items, which become help texts.
fn printed(source: &str, has_help: bool) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let (mut found, mut help) = (Vec::new(), String::new());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            let line = comment.split('\n').next().unwrap_or_default();
            if let Some(line) = line.strip_prefix('/').filter(|_| has_help) {
                help.push_str(line.trim());
                help.push(' ');
            }
            rest = &comment[line.len()..];
        } else if let Some(raw) = rest.strip_prefix("r\"").or_else(|| rest.strip_prefix("r#\"")) {
            let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
            let (text, after) = raw.split_once(end).unwrap_or((raw, ""));
            found.push(text.to_owned());
            rest = after;
        } else if c == '"' {
            let (text, after) = literal(&rest[1..]);
            found.push(text);
            rest = after;
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            // A quotation mark, or something escaped, as a character.
            rest = &rest[rest[2..].find('\'').map_or(rest.len(), |end| end + 3)..];
        } else {
            if !c.is_whitespace() && !help.is_empty() {
                found.push(std::mem::take(&mut help));
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// A string literal behind its first quotation mark, and what follows it.
fn literal(rest: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &rest[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                // A line that goes on behind its indentation.
                Some((at, '\n')) => {
                    let indent = rest[at + 1..].len() - rest[at + 1..].trim_start().len();
                    for _ in 0..rest[at + 1..at + 1 + indent].chars().count() {
                        chars.next();
                    }
                }
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, "")
}

/// Commands in a text: spans in backticks or quotes, and lines that begin with one.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for quote in ['`', '\''] {
        let spans = text.split(quote).skip(1).step_by(2);
        found.extend(spans.filter(|span| !span.contains('\n')).filter_map(command));
    }
    found.extend(text.lines().filter_map(|line| {
        let line = line.trim_start_matches(['!', ' ']);
        command(line.strip_prefix("$ ").unwrap_or(line))
    }));
    found
}

/// `hermes …`, or `coder …` for the alias, as far as the command goes.
fn command(text: &str) -> Option<String> {
    let text = text.trim();
    let rest = match text.strip_prefix("hermes ") {
        Some(rest) => rest.to_owned(),
        None => format!(
            "-p coder {}",
            // Not the prompt of its terminal, nor a line of a table.
            text.strip_prefix("coder ")
                .filter(|rest| !rest.starts_with('❯') && (!text.contains("  ") || !text.contains(": ")))?
        ),
    };
    let rest = rest.replace("{flag}", "");
    let ends = [
        "  ",
        " #",
        " | ",
        " && ",
        "; ",
        " > ",
        "…",
        "...",
        " (",
        "\\n",
        ": ",
        ", ",
        " – ",
        " ||",
        " <COMMAND",
        " \"$",
        "{:",
        "{flag:",
    ];
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let rest = rest[..end].trim_end_matches(['.', ',', ';', '`', '\'']).trim();
    let first = rest.split(' ').find(|word| !word.starts_with('-') && *word != "coder")?;
    let is_version = first.starts_with(|c: char| c.is_ascii_digit() || c == '{');
    (!PROSE.contains(&first) && !is_version && !rest.is_empty()).then(|| rest.to_owned())
}

/// Every reading of a synopsis: `start|stop` is two, what is optional is left out.
fn readings(text: &str) -> Vec<String> {
    let bare = text.split_once(" [").map_or(text, |(before, _)| before).replace("\\|", "|");
    let words = bare.split(' ').map(|word| word.split('|').map(str::to_owned).collect::<Vec<_>>());
    words.fold(vec![String::new()], |all, choices| {
        all.iter().flat_map(|begun| choices.iter().map(move |choice| format!("{begun} {choice}"))).collect()
    })
}

/// What stands for something else: `NAME`, `<file>`, `{name}`; behind a word, `{}` is its flag.
fn filled(word: &str) -> String {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    match word.split_once('{') {
        Some((before, _)) if !before.is_empty() => before.to_owned(),
        Some(_) => "coder".to_owned(),
        None if word.starts_with('<') || (word.len() > 1 && word.chars().all(is_name)) => "coder".to_owned(),
        None => word.to_owned(),
    }
}

/// Why the command line does not take a command; what is only left out of it is no reason.
fn refusal(text: &str) -> Option<String> {
    let words = shlex::split(text).unwrap_or_default();
    let words = std::iter::once("hermes".to_owned()).chain(words.iter().map(|word| filled(word)));
    let (rest, _) = take_profile_flag(words.map(OsString::from).collect()).ok()?;
    let error = Cli::try_parse_from(super::chat::with_oneshot(rest)).err()?;
    let incomplete = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
    );
    (!incomplete).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// All texts with the place they come from.
fn texts() -> Vec<(String, String)> {
    let top = top();
    let mut texts = Vec::new();
    for below in [
        "supervisor/cli/src",
        "supervisor/gateway/src",
        "worker/src",
        "protocol/wire/src",
        "protocol/config/src",
        "protocol/host/src",
    ] {
        for path in files(&top.join(below), ".rs") {
            let shown = path.strip_prefix(&top).unwrap().display().to_string();
            if ["tests.rs", "/tests/", "texts.rs"].iter().any(|part| shown.contains(part)) {
                continue;
            }
            // Help texts are written in one place.
            let has_help = shown.starts_with("supervisor/cli/src/cli");
            let found = printed(&fs_err::read_to_string(&path).unwrap(), has_help);
            texts.extend(found.into_iter().map(|text| (shown.clone(), text)));
        }
        for path in files(&top.join(below), ".snap") {
            texts.push((path.display().to_string(), fs_err::read_to_string(&path).unwrap()));
        }
    }
    for path in files(&top.join("tests/tests"), ".snap") {
        // What somebody typed is not ours, and may be wrong on purpose.
        let text = fs_err::read_to_string(&path).unwrap();
        let ours: Vec<&str> = text.lines().filter(|line| !line.starts_with("$ ")).collect();
        texts.push((path.display().to_string(), ours.join("\n")));
    }
    let pages = files(&top.join("docs"), ".md").into_iter().chain([top.join("README.md")]);
    let skills = files(&top.join("supervisor/cli/skills"), ".md");
    for path in pages.chain(skills) {
        if !ABOUT_OTHERS.iter().any(|name| path.ends_with(name)) {
            texts.push((path.display().to_string(), fs_err::read_to_string(&path).unwrap()));
        }
    }
    texts
}

#[test]
fn n6_every_command_that_a_text_names_exists() {
    let mut seen = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for (place, text) in texts() {
        for command in commands(&text) {
            for reading in readings(&command) {
                if let Some(why) = refusal(&reading) {
                    wrong.insert(format!("{place}: hermes{reading}: {why}"));
                }
                seen.insert(reading);
            }
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.len() > 100, "only {} commands were found", seen.len());
}

#[test]
fn what_a_source_can_print() {
    let source = "/// Help,\n/// in two lines.\nfn f() { g(\"a \\\"b\\\" \\\n      c\", r#\"raw \"x\"\"#, '\"', 'x'); } // not \"this\"\n#[cfg(test)]\nmod tests { \"nor this\" }";
    assert_eq!(printed(source, true), ["Help, in two lines. ", "a \"b\" c", "raw \"x\""]);
}

#[test]
fn what_counts_as_a_command() {
    assert_eq!(
        commands(
            "Run 'hermes model', hermes 0.1.0 or `hermes -p coder gateway run`.\n  hermes status -p coder    who runs\n  coder chat"
        ),
        ["-p coder gateway run", "model", "status -p coder", "-p coder chat"]
    );
    assert_eq!(readings("gateway start\\|stop [-p NAME]"), [" gateway start", " gateway stop"]);
    for wrong in [" modell", " -p coder chatter", " gateway nope", " status --nope", " config set a b c"] {
        assert!(refusal(wrong).is_some(), "{wrong}");
    }
    for fine in
        [" gateway start coder", " profile create", " config set KEY VALUE", " -p NAME gateway run{flag}"]
    {
        assert_eq!(refusal(fine), None, "{fine}");
    }
    Cli::command().debug_assert();
}
