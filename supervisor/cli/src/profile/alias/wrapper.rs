//! What a wrapper's file says: written here, read here, nothing touched.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileName;

/// Line that marks a wrapper as ours; the profile's name follows.
const MARKER: &str = "# hermes-profile-alias: ";

/// What a wrapper stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapper {
    /// The profile, as written.
    pub(super) profile: String,
    /// Its root home, where the wrapper says one.
    pub(super) root: Option<Utf8PathBuf>,
    /// It carries our marker; without one it is 0.19.0's.
    pub(super) marked: bool,
}

/// The text of a wrapper that runs `program`. `root`: the root home, unless it is the usual one.
pub(super) fn text(profile: &ProfileName, root: Option<&Utf8Path>, program: &str) -> String {
    let home = root.map_or_else(String::new, |root| {
        format!("HERMES_HOME={}\nexport HERMES_HOME\n", quote(root.as_str()))
    });
    format!("#!/bin/sh\n{MARKER}{profile}\n{home}exec {} -p {profile} \"$@\"\n", quote(program))
}

/// Reads a file's text. A script is a wrapper when it carries our marker, or when all it does is to call `hermes -p NAME` with
/// the arguments it was given, as those of 0.19.0 do. A script that does more than that is somebody's work.
pub(super) fn read(text: &str) -> Option<Wrapper> {
    let mut lines = text.lines();
    lines.next().filter(|first| first.starts_with("#!"))?;
    let (mut marker, mut root, mut calls) = (None, None, Vec::new());
    for line in lines.map(str::trim) {
        if let Some(name) = line.strip_prefix(MARKER) {
            marker = marker.or(Some(name.trim().to_owned()));
        } else if let Some(value) = line.strip_prefix("export ").unwrap_or(line).strip_prefix("HERMES_HOME=")
        {
            root = words(value).and_then(|words| words.into_iter().next()).map(Utf8PathBuf::from);
        } else if !line.is_empty() && !line.starts_with('#') && line != "export HERMES_HOME" {
            calls.push(line);
        }
    }
    if let Some(profile) = marker {
        return Some(Wrapper { profile, root, marked: true });
    }
    let [call] = calls[..] else { return None };
    let words = words(call)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = words.strip_prefix(&["exec"]).unwrap_or(&words);
    match words {
        [program, "-p", profile, "$@"] if Utf8Path::new(program).file_name() == Some("hermes") => {
            Some(Wrapper { profile: (*profile).to_owned(), root, marked: false })
        }
        _ => None,
    }
}

/// As one word of a shell. A path is quoted only where it must be: 0.19.0 knows a wrapper by `hermes -p`.
fn quote(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | '%' | ',')
    };
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The words of one simple command, quotes removed; none where a quote is not closed or the shell would do more than call.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '`' => return None,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => word.push(chars.next()?),
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profile(text: &str) -> Option<String> {
        read(text).map(|wrapper| wrapper.profile)
    }

    #[test]
    fn wrappers_of_0_19_0_are_known() {
        for call in [
            "exec /usr/local/bin/hermes -p coder \"$@\"",
            "exec hermes -p coder \"$@\"",
            "hermes -p coder $@",
            "exec '/opt/my tools/hermes' -p coder \"$@\"",
            "exec '/opt/it'\"'\"'s/hermes' -p coder \"$@\"",
            "exec \"/opt/my tools/hermes\" -p 'coder' \"$@\"",
        ] {
            assert_eq!(profile(&format!("#!/bin/sh\n{call}\n")).as_deref(), Some("coder"), "{call}");
        }
    }

    #[test]
    fn a_script_that_does_more_is_not_a_wrapper() {
        for text in [
            "exec hermes -p coder \"$@\"\n",
            "#!/bin/sh\nhermes -p coder gateway restart\n",
            "#!/bin/sh\nhermes -p coder \"$@\"\nnotify-send done\n",
            "#!/bin/sh\nhermes -p coder \"$@\" | tee log\n",
            "#!/bin/sh\necho 'use hermes -p coder'\n",
            "#!/bin/sh\nexec other -p coder \"$@\"\n",
            "#!/bin/sh\nexec 'hermes -p coder \"$@\"\n",
            "#!/bin/sh\n",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(program in "/[^\n\0]{0,40}/hermes", root in proptest::option::of("/[^\n\0]{1,40}")) {
            let name: ProfileName = "coder".parse().unwrap();
            let text = text(&name, root.as_deref().map(Utf8Path::new), &program);
            let root = root.map(Utf8PathBuf::from);
            prop_assert_eq!(read(&text), Some(Wrapper { profile: "coder".to_owned(), root, marked: true }));
            let call = text.lines().last().unwrap();
            let words = words(call).unwrap();
            prop_assert_eq!(&words, &["exec", program.as_str(), "-p", "coder", "$@"]);
        }
    }
}
