//! `hermes chat`: one question, its answer, and how both look; on a terminal, without a question, a [conversation](interactive).
//!
//! Of one question standard output has the answer and nothing else; what is going on, and where the session can be gone on with, is on standard error.

mod consent;
mod interactive;
mod piped;
mod screen;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, ValueHint};
use hermes_host::clock;
use hermes_wire::terminal::{Asked, Chosen, Inquiry, MAX_QUESTION, Question, SCHEMA, Said, Session};
use hermes_wire::{ProfileName, exit};

use super::Call;
use super::interrupt::Interrupt;
use super::output::warn;
use crate::chat::sent::{readable, write};
use crate::chat::way::Link;
use crate::chat::{self, Audience, Consulted, End, News};
use crate::error::{ChatError, HermesError};
use interactive::Beginning;
use screen::{Look, Screen};

/// Room that is left for everything that goes with a text.
const MAX_TEXT: u64 = MAX_QUESTION / 2;

#[derive(Debug, Args)]
#[command(after_help = "On a terminal and without a question it is a conversation, as `hermes` alone is.\n\
    The worker of a gateway that serves the profile answers; otherwise this command starts one of its own, which ends with it.\n\
    Exit codes: 0, 1 no answer, 3 the limit of --max-turns was reached (the answer is a summary), 130 Ctrl-C.\n\n\
    Examples:\n  hermes chat -q 'what is in this workspace?'\n  hermes -p coder chat -Q -q 'one word: ready?'\n  \
    git diff | hermes chat -q 'review this'\n  hermes chat --continue -q 'and shorter?'\n  \
    hermes -z 'the answer and nothing else'")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct ChatArgs {
    /// One question; `-` reads it from standard input.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, value_hint = ValueHint::Other)]
    query: Option<String>,
    /// The same.
    #[arg(value_name = "TEXT", conflicts_with = "query", value_hint = ValueHint::Other)]
    text: Option<String>,
    /// The answer alone, when it is whole; standard error says the session.
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// The answer and nothing else (also: `hermes -z TEXT`).
    #[arg(short = 'z', long, value_name = "TEXT", conflicts_with_all = ["query", "text"], allow_hyphen_values = true, hide = true)]
    oneshot: Option<String>,
    /// Wait for the end of standard input, whatever it is, and put it behind the question.
    #[arg(long)]
    stdin: bool,
    /// Go on in this session, by its id or title.
    #[arg(short, long, value_name = "ID", conflicts_with = "continue_last", value_hint = ValueHint::Other)]
    resume: Option<String>,
    /// Go on in the last session of the terminal.
    #[arg(short, long = "continue")]
    continue_last: bool,
    /// Another model, for this question [default: the profile's; an alias of `model_routes` counts too].
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::Other)]
    model: Option<String>,
    /// Who serves that model.
    #[arg(long, value_name = "NAME", requires = "model", value_hint = ValueHint::Other)]
    provider: Option<String>,
    /// Skills whose instructions hold for this question.
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',', value_hint = ValueHint::Other)]
    skills: Vec<String>,
    /// Most calls to the model in which it may want tools [default: agent.max_turns].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_turns: Option<u32>,
    /// Ask nobody before a dangerous command, for this question.
    #[arg(long)]
    yolo: bool,
    /// Write the requests that are made of the provider into this file, secrets masked.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    dump: Option<Utf8PathBuf>,
}

/// Options of `hermes chat` that can be given without its name.
const OPTIONS: [&str; 11] = [
    "--resume",
    "-r",
    "--continue",
    "-c",
    "--model",
    "-m",
    "--skills",
    "-s",
    "--max-turns",
    "--yolo",
    "--provider",
];

/// `hermes -z TEXT …` is `hermes chat -z TEXT …`, `hermes --resume ID` is `hermes chat --resume ID`, and on a terminal `hermes` alone is
/// `hermes chat`.
pub(super) fn with_oneshot(mut args: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let is_chats = |arg: &std::ffi::OsString| {
        let text = arg.to_string_lossy();
        text == "--oneshot"
            || text.starts_with("--oneshot=")
            || (text.starts_with("-z") && !text.starts_with("--"))
            || OPTIONS.contains(&text.split('=').next().unwrap_or_default())
    };
    if args.get(1).is_some_and(is_chats) || (args.len() == 1 && is_terminal()) {
        args.insert(1, "chat".into());
    }
    args
}

/// Whether somebody can talk here.
fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// `hermes chat`.
pub(super) fn run(args: ChatArgs, call: &Call) -> Result<u8, HermesError> {
    let look = match (&args.oneshot, args.quiet) {
        (Some(_), _) => Look::Bare,
        (None, true) => Look::Quiet,
        (None, false) => Look::Full,
    };
    let text = args.oneshot.as_ref().or(args.query.as_ref()).or(args.text.as_ref());
    let is_talk = text.is_none() && !args.quiet && !args.stdin && args.dump.is_none() && is_terminal();
    let text = match text {
        None if is_talk => String::new(),
        typed => piped::question(typed.map(String::as_str), args.stdin)?.ok_or(ChatError::NoQuestion)?,
    };
    let selection = call.select_strict()?;
    let session = match (args.resume, args.continue_last) {
        (Some(id), _) => Session::Known(id),
        (None, true) => Session::Last,
        (None, false) => Session::New(new_session()),
    };
    let skills: Vec<String> =
        args.skills.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if is_talk {
        let model = args.model.map(|model| Chosen { model, provider: args.provider });
        let (max_turns, yolo) = (args.max_turns, args.yolo);
        let beginning = Beginning { session, model, skills, max_turns, yolo };
        return interactive::run(beginning, &selection, call);
    }
    let question = Question {
        schema: SCHEMA,
        turn: format!("chat-{:016x}", random()),
        session,
        text,
        model: args.model,
        provider: args.provider,
        skills,
        max_turns: args.max_turns,
        yolo: args.yolo,
        requests: args.dump.is_some(),
        images: Vec::new(),
        // Whoever wants nothing but the answer is a program.
        is_attended: look != Look::Bare && consent::is_there(),
    };
    // From here on Ctrl-C is heard, and the turn told to end.
    let interrupt = Interrupt::new();
    let mut front =
        Front { screen: Screen::new(look), requests: Vec::new(), interrupt, is_there: question.is_attended };
    front.screen.begin(&question.text);
    let mut link = Link::new(&selection, &call.env);
    let ended = chat::ask(&mut link, question, &mut front);
    link.end();
    let Front { screen, requests, .. } = front;
    if let Some(path) = &args.dump
        && !requests.is_empty()
    {
        write(path, &requests.join("\n\n"))?;
    }
    finish(screen, ended, &selection.profile)
}

/// Whoever sits at the terminal.
struct Front {
    screen: Screen,
    requests: Vec<String>,
    interrupt: Interrupt,
    is_there: bool,
}

impl Audience for Front {
    type Error = HermesError;

    fn left(&mut self) -> bool {
        self.interrupt.came_within(Duration::ZERO)
    }

    fn tell(&mut self, news: News) -> Result<(), HermesError> {
        if let News::Said(Said::Request(sent)) = &news {
            self.requests.push(readable(sent));
        }
        self.screen.tell(&news)
    }

    fn is_there(&self) -> bool {
        self.is_there
    }

    fn consult(&mut self, asked: &Asked) -> Consulted {
        self.screen.step_aside();
        consent::ask(asked, |time| self.interrupt.came_within(time))
    }

    fn inquire(&mut self, inquiry: &Inquiry) -> Consulted {
        self.screen.step_aside();
        consent::inquire(inquiry, |time| self.interrupt.came_within(time))
    }
}

/// What is printed at the end, and the exit code.
fn finish(
    mut screen: Screen,
    ended: Result<End, HermesError>,
    profile: &ProfileName,
) -> Result<u8, HermesError> {
    match ended {
        Ok(End::Answered { text, finish_reason, out_of_turns, counts }) => {
            screen.answer(&text)?;
            if finish_reason == "length" {
                screen.warn("the answer was cut off at the limit on its length (model.max_tokens)");
            }
            if out_of_turns {
                screen.warn("the limit on calls for tools was reached: the answer is a summary (--max-turns, agent.max_turns)");
            }
            screen.footer(Some(counts), profile);
            Ok(if out_of_turns { exit::MAX_TURNS } else { exit::OK })
        }
        Ok(End::Left) => {
            screen.clear();
            screen.footer(None, profile);
            Err(HermesError::Interrupted { state: "the turn was ended", hint: None })
        }
        Err(error) => {
            screen.clear();
            screen.footer(None, profile);
            Err(error)
        }
    }
}

/// `YYYYMMDD_HHMMSS_<6 hex>`, as 0.19.0 names sessions of the terminal.
fn new_session() -> String {
    format!("{}_{:06x}", clock::local().strftime("%Y%m%d_%H%M%S"), random() & 0xff_ffff)
}

/// 64 bits that differ at every call.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Standard error: what is no answer. Nobody has to read it.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(hermes_wire::text::printable(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sessions_are_those_of_0_19_0() {
        let (one, two) = (new_session(), new_session());
        assert!(one.len() == 22 && one.as_bytes()[8] == b'_' && one.as_bytes()[15] == b'_', "{one}");
        assert!(hermes_wire::terminal::is_id(&one));
        assert_ne!(one, two);
    }

    #[test]
    fn a_bare_question_is_a_chat() {
        let with = |args: &[&str]| {
            with_oneshot(args.iter().map(Into::into).collect())
                .iter()
                .map(|a| a.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(with(&["hermes", "-z", "hi"]), ["hermes", "chat", "-z", "hi"]);
        assert_eq!(with(&["hermes", "-zhi"]), ["hermes", "chat", "-zhi"]);
        assert_eq!(with(&["hermes", "--oneshot=hi"]), ["hermes", "chat", "--oneshot=hi"]);
        assert_eq!(with(&["hermes", "--resume", "x"]), ["hermes", "chat", "--resume", "x"]);
        assert_eq!(with(&["hermes", "-c"]), ["hermes", "chat", "-c"]);
        assert_eq!(with(&["hermes", "status", "-z"]), ["hermes", "status", "-z"]);
        assert_eq!(with(&["hermes", "--help"]), ["hermes", "--help"]);
    }
}
