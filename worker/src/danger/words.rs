//! What a script consists of, as far as it is known before it runs.

/// A word as a shell would give it to a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    /// Its text; what is not known is [`UNKNOWN`].
    pub(super) text: String,
    /// It is filled in by the shell from files: `*`, `?`, `[…]` without quotes stand in it.
    pub(super) is_pattern: bool,
    /// It begins with `~` without quotes.
    pub(super) is_tilde: bool,
    /// It is, or holds, the output of another command.
    pub(super) is_output: bool,
}

/// Stands for what is not known.
pub(super) const UNKNOWN: char = '\u{0}';

impl Word {
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), is_tilde: text.starts_with('~'), ..Self::default() }
    }

    /// Whether all of it is known, patterns taken as they are written.
    pub(super) fn is_known(&self) -> bool {
        !self.text.contains(UNKNOWN)
    }

    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.text.starts_with(text)
    }
}

/// One program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Simple {
    /// Its name and what follows, without redirections.
    pub(super) words: Vec<Word>,
    /// Variables that are set for it, or by it.
    pub(super) set: Vec<String>,
    /// Where it writes by redirection.
    pub(super) writes: Vec<Word>,
    /// What it reads so.
    pub(super) reads: Vec<Word>,
    /// It reads what another writes.
    pub(super) is_fed: bool,
}

impl Simple {
    /// Its words, separated by spaces.
    pub(super) fn text(&self) -> String {
        let shown = |word: &Word| word.text.replace(UNKNOWN, "…");
        self.words.iter().map(shown).collect::<Vec<_>>().join(" ")
    }
}

/// A text that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Script {
    /// In the order of the text; those within others, too.
    pub(super) commands: Vec<Simple>,
    /// Texts that programs are given to read, where they stand in the script.
    pub(super) given: Vec<Word>,
    /// Functions, each with the names that it calls, and whether one goes on beside it or in front of another.
    pub(super) functions: Vec<Function>,
}

/// A function of a script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) calls: Vec<String>,
    pub(super) multiplies: bool,
}
