//! Asking whoever sits at the terminal whether a command may run, or what the model wants to know.
//!
//! Only where standard input and standard error are a terminal: there somebody reads the question and answers it. What was typed before the
//! question was shown is no answer. An end of the input is a no, and so is silence: the worker waits no longer than it says.

use std::io::{self, IsTerminal as _};
#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use hermes_host::clock;
use hermes_wire::terminal::{Asked, Inquiry};
use hermes_wire::text;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};

use super::say;
use crate::chat::Consulted;

/// Ctrl-C.
const INTERRUPT: u8 = 3;
/// Time between two looks at whether they want to leave.
const LOOK: Duration = Duration::from_millis(40);
/// Longest line that is read as an answer.
const LONGEST: usize = 4096;

/// Whether anybody can be asked.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A line that was typed, or why there is none.
enum Line {
    Typed(String),
    Silence,
    Left,
    End,
}

/// Asks. `left` waits so long, and says whether they want to leave.
pub(super) fn ask(asked: &Asked, left: impl Fn(Duration) -> bool) -> Consulted {
    forget_keys();
    say(&question(asked));
    let until = clock::now() + Duration::from_secs(asked.timeout);
    loop {
        match line(until, &left) {
            Line::Silence => {
                say("\nno answer in time: it does not run\n");
                return Consulted::Silence;
            }
            Line::Left => return Consulted::Left,
            Line::End => {
                say("\nit does not run\n");
                return Consulted::Choice("deny".to_owned());
            }
            Line::Typed(typed) => match choice(&typed, &asked.choices) {
                Some(choice) => return Consulted::Choice(choice),
                None => say(&prompt(&asked.choices)),
            },
        }
    }
}

/// Asks what the model wants to know; nothing typed is no answer.
pub(super) fn inquire(inquiry: &Inquiry, left: impl Fn(Duration) -> bool) -> Consulted {
    forget_keys();
    say(&format!("\n{}\n\n", text::printable(&inquiry.question)));
    let until = clock::now() + Duration::from_secs(inquiry.timeout);
    loop {
        say("> ");
        match line(until, &left) {
            Line::Typed(typed) if typed.trim().is_empty() => {}
            Line::Typed(typed) => return Consulted::Text(typed.trim().to_owned()),
            Line::Silence => {
                say("\nno answer in time: it goes on without one\n");
                return Consulted::Silence;
            }
            Line::Left | Line::End => return Consulted::Left,
        }
    }
}

/// Keys that were typed before belong to something else. A terminal that cannot forget them has none.
fn forget_keys() {
    let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH);
}

/// The next line.
fn line(until: Instant, left: impl Fn(Duration) -> bool) -> Line {
    let mut typed = Vec::new();
    loop {
        let now = clock::now();
        if now >= until {
            return Line::Silence;
        }
        if left(Duration::ZERO) {
            say("\n");
            return Line::Left;
        }
        if !is_typed(LOOK.min(until - now)) {
            continue;
        }
        let mut bytes = [0; LONGEST];
        let read = match nix::unistd::read(io::stdin(), &mut bytes) {
            Ok(read) => read,
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => continue,
            Err(_) => 0,
        };
        if read == 0 {
            return Line::End;
        }
        typed.extend_from_slice(&bytes[..read]);
        // A key where it is no signal.
        if typed.contains(&INTERRUPT) {
            say("\n");
            return Line::Left;
        }
        match typed.iter().position(|byte| *byte == b'\n') {
            Some(end) => return Line::Typed(String::from_utf8_lossy(&typed[..end]).into_owned()),
            None => typed.truncate(LONGEST),
        }
    }
}

/// Whether something was typed within that time.
fn is_typed(time: Duration) -> bool {
    let stdin = io::stdin();
    let mut wait = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    // A signal is looked at where signals are.
    poll(&mut wait, time).is_ok_and(|ready| ready > 0)
}

/// What is shown, line by line, with everything in it to be seen.
fn question(asked: &Asked) -> String {
    let lines: String = asked.command.lines().map(|line| format!("  {}\n", text::visible(line))).collect();
    format!(
        "\n⚠️ May this command run? It {}.\n\n{lines}\nWithout an answer within {} s it does not.\n{}",
        text::visible(&asked.why),
        asked.timeout,
        prompt(&asked.choices)
    )
}

fn prompt(choices: &[String]) -> String {
    let shown: Vec<String> = choices
        .iter()
        .filter_map(|choice| {
            let mut letters = choice.chars();
            Some(format!("[{}]{}", letters.next()?, letters.as_str()))
        })
        .collect();
    format!("{} > ", text::visible(&shown.join(" ")))
}

/// The choice that a line means: its word or its first letter, and what people say instead.
fn choice(line: &str, choices: &[String]) -> Option<String> {
    let word = line.trim().to_lowercase();
    let word = match word.as_str() {
        "y" | "yes" => "once",
        "n" | "no" => "deny",
        other => other,
    };
    let means = |choice: &&String| choice.as_str() == word || (word.len() == 1 && choice.starts_with(word));
    choices.iter().find(means).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: &str) -> Asked {
        Asked {
            command: command.to_owned(),
            why: "deletes".to_owned(),
            choices: ["once", "session", "always", "deny"].map(str::to_owned).to_vec(),
            timeout: 60,
        }
    }

    #[test]
    fn answers_are_words_or_letters_and_nothing_is_none() {
        let all = asked("x").choices;
        for (line, expected) in [
            ("o", Some("once")),
            (" Once ", Some("once")),
            ("y", Some("once")),
            ("s", Some("session")),
            ("always", Some("always")),
            ("d", Some("deny")),
            ("no", Some("deny")),
            ("", None),
            ("on", None),
            ("sure", None),
        ] {
            assert_eq!(choice(line, &all).as_deref(), expected, "{line}");
        }
        let few = ["once", "deny"].map(str::to_owned);
        assert_eq!(choice("a", &few), None);
        assert_eq!(prompt(&few), "[o]nce [d]eny > ");
    }

    /// What a terminal would obey or hide is written out.
    #[test]
    fn a_command_is_seen_as_it_is() {
        let shown = question(&asked("rm -rf x\u{1b}[8m hidden\nsecond\u{202e}"));
        assert!(shown.contains("  rm -rf x\\u{1b}[8m hidden\n  second\\u{202e}\n"), "{shown}");
        assert!(shown.ends_with("[o]nce [s]ession [a]lways [d]eny > "), "{shown}");
    }
}
