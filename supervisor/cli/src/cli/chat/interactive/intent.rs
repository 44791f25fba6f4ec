//! What a line that was typed means. Pure but for the look at whether a file is there, which is the caller's.

use camino::{Utf8Path, Utf8PathBuf};

/// Ends of the names of pictures.
const PICTURES: [&str; 9] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "heic"];
/// Commands that are about the terminal itself.
const LEAVING: [&str; 2] = ["exit", "quit"];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Intent {
    /// Nothing was said.
    Nothing,
    /// To go.
    Leave,
    /// The skills, of what is offered.
    Skills,
    /// A command, with its slash: the worker knows what it is.
    Command(String),
    /// A question, and pictures that go with it.
    Ask { text: String, images: Vec<Utf8PathBuf> },
}

/// Reads a line. `found` gives the whole path of a file that is there.
pub(super) fn read(typed: &str, found: impl Fn(&Utf8Path) -> Option<Utf8PathBuf>) -> Intent {
    // A line that ends with a backslash goes on in the next one.
    let text = typed.replace("\\\n", "\n");
    let text = text.trim();
    if text.is_empty() {
        return Intent::Nothing;
    }
    if let Some(name) = command(text) {
        // A file of that name is what somebody dragged into the window.
        if found(Utf8Path::new(text)).is_none() {
            return match name.as_str() {
                name if LEAVING.contains(&name) => Intent::Leave,
                "skills" => Intent::Skills,
                _ => Intent::Command(text.to_owned()),
            };
        }
    }
    Intent::Ask { text: text.to_owned(), images: images(text, found) }
}

/// The name of the command that a text is, if it looks like one: `/usr/bin` is a path.
fn command(text: &str) -> Option<String> {
    let name = text.strip_prefix('/')?.split_whitespace().next()?;
    (name.starts_with(|c: char| c.is_alphanumeric()) && !name.contains('/')).then(|| name.to_lowercase())
}

/// Pictures that a text names, each once, in order: as a word, in quotes, or with spaces behind backslashes, as terminals write what is
/// dragged into them.
fn images(text: &str, found: impl Fn(&Utf8Path) -> Option<Utf8PathBuf>) -> Vec<Utf8PathBuf> {
    let words = text.split_whitespace().map(str::to_owned);
    let quoted = shlex::split(text).unwrap_or_default();
    let mut all = Vec::new();
    for word in words.chain(quoted) {
        let word = word
            .trim_matches(['"', '\'', '(', ')', ',', ';', ':', '?', '!'])
            .trim_end_matches('.')
            .trim_start_matches("file://");
        let path = Utf8Path::new(word);
        let end = path.extension().unwrap_or_default().to_lowercase();
        if PICTURES.contains(&end.as_str())
            && let Some(path) = found(path)
            && !all.contains(&path)
        {
            all.push(path);
        }
    }
    all
}

/// Whether a line goes on: its last sign is a backslash.
pub(super) fn goes_on(line: &str) -> bool {
    let signs = line.len() - line.trim_end_matches('\\').len();
    signs % 2 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn intent(typed: &str) -> Intent {
        read(typed, |path| {
            ["/tmp/a.png", "b c.JPG", "x.txt"].contains(&path.as_str()).then(|| path.to_owned())
        })
    }

    fn ask(text: &str, images: &[&str]) -> Intent {
        Intent::Ask { text: text.to_owned(), images: images.iter().map(Utf8PathBuf::from).collect() }
    }

    #[test]
    fn lines_mean_what_people_mean() {
        assert_eq!(intent(" \n"), Intent::Nothing);
        assert_eq!(intent("/exit"), Intent::Leave);
        assert_eq!(intent(" /Quit now"), Intent::Leave);
        assert_eq!(intent("/skills"), Intent::Skills);
        assert_eq!(intent("/title A b"), Intent::Command("/title A b".to_owned()));
        assert_eq!(intent("/usr/bin is full"), ask("/usr/bin is full", &[]));
        assert_eq!(intent("exit"), ask("exit", &[]));
        assert_eq!(intent("one\\\ntwo"), ask("one\ntwo", &[]));
        assert_eq!(intent("/"), ask("/", &[]));
    }

    #[test]
    fn pictures_are_found_as_terminals_write_them() {
        assert_eq!(intent("/tmp/a.png"), ask("/tmp/a.png", &["/tmp/a.png"]));
        assert_eq!(intent("don't (/tmp/a.png)?"), ask("don't (/tmp/a.png)?", &["/tmp/a.png"]));
        let two = "see 'b c.JPG' and file:///tmp/a.png.";
        assert_eq!(intent(two), ask(two, &["/tmp/a.png", "b c.JPG"]));
        assert_eq!(intent(r"see b\ c.JPG"), ask(r"see b\ c.JPG", &["b c.JPG"]));
        assert_eq!(intent("none.png x.txt"), ask("none.png x.txt", &[]));
    }

    #[test]
    fn a_backslash_at_the_end_goes_on() {
        assert!(goes_on("a\\") && goes_on("a\\\nb\\") && !goes_on("a") && !goes_on("a\\\\") && !goes_on(""));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_means_something(typed in "\\PC{0,40}") {
            let is_nothing = read(&typed, |_| None) == Intent::Nothing;
            prop_assert_eq!(is_nothing, typed.replace("\\\n", "\n").trim().is_empty());
        }
    }
}
