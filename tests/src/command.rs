//! Commands as somebody types them, and transcripts of them that read the same on every machine.

use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};

use crate::Home;
use crate::gateway::hermes;

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A program that is not ours.
#[expect(clippy::disallowed_methods, reason = "the harness starts what a test compares with")]
pub fn outside(program: &camino::Utf8Path) -> Command {
    Command::new(program)
}

impl Ran {
    /// Standard output, of a command that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// Standard error, of a command that ended with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.err
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs `hermes` with these words; standard input is empty. No test expects a command to change where it stands.
pub fn run(home: &Home, args: &[&str]) -> Ran {
    hermes(home, args).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs `hermes` with this on standard input.
pub fn run_with_input(home: &Home, args: &[&str], input: &str) -> Ran {
    use std::io::Write as _;
    let mut command = hermes(home, args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// Runs these command lines (split at spaces) one after the other and renders what a terminal would show, exit codes that are
/// not 0 included, with the temporary directories replaced by `<root>` and `<user>`.
pub fn transcript(home: &Home, lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let args: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let ran = run(home, &args);
        let _ = write!(text, "$ hermes {line}\n{}", ran.out);
        for line in ran.err.lines() {
            let _ = writeln!(text, "! {line}");
        }
        if ran.code != Some(0) {
            let _ = writeln!(text, "=> exit {}", ran.code.map_or("by signal".to_owned(), |c| c.to_string()));
        }
    }
    masked(home, &text)
}

/// `text` without what differs from run to run: the home's directories and the program's own path.
pub fn masked(home: &Home, text: &str) -> String {
    let program = crate::gateway::binary();
    text.replace(home.root().as_str(), "<root>")
        .replace(home.user().as_str(), "<user>")
        .replace(program.to_str().unwrap(), "<hermes>")
}
