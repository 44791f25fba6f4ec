//! The conversation at a terminal: lines are typed, answers are shown, until somebody leaves.
//!
//! # Theory of operation
//!
//! One thread, two states. While a line is typed the [editor] has the terminal; while it is answered the [page] has, and keys that are
//! typed meanwhile wait, unseen, for the next line. What a line means is decided by [intent]; what is no question the worker is told as it was
//! typed, and says what follows. Nothing of the conversation is kept here but which session it is and what was chosen for it: the worker
//! has the rest, and another one takes its place at any moment.
//!
//! Ctrl-C ends the answer that is being made; where none is, or twice within [`TWICE`], it leaves.

mod complete;
mod editor;
mod intent;
mod keys;
mod markdown;
mod page;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use hermes_host::clock;
use hermes_wire::terminal::{
    Asked, COMMAND, Chosen, Greeting, Host, Inquiry, Offered, Order, Question, SCHEMA, Said, Session, Then,
    WELCOME,
};
use hermes_wire::{exit, text};

use super::super::Call;
use super::super::interrupt::Interrupt;
use super::{consent, new_session, random};
use crate::chat::way::Link;
use crate::chat::{self, Audience, Consulted, End, News};
use crate::error::{ChatError, HermesError};
use crate::home::Selection;
use crate::report::report;
use editor::{Editor, Place, Typed};
use intent::Intent;
use keys::{Ahead, Keys, Way};
use page::{Page, Size};

/// Two within that time leave.
const TWICE: Duration = Duration::from_secs(2);
/// Time between two signs that something goes on.
const TURN: Duration = Duration::from_millis(100);
/// Where lines are remembered, in the profile's home.
const HISTORY: &str = ".hermes_terminal_history";
/// Shown below who answers.
const HELP: &str = "/help, Tab completes, Alt-Enter begins a line, Ctrl-C stops, Ctrl-D leaves";

/// What the conversation begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) session: Session,
    pub(super) model: Option<Chosen>,
    pub(super) skills: Vec<String>,
    pub(super) max_turns: Option<u32>,
    pub(super) yolo: bool,
}

/// Talks, until somebody leaves. The exit code.
pub(super) fn run(beginning: Beginning, selection: &Selection, call: &Call) -> Result<u8, HermesError> {
    // From here on Ctrl-C is heard.
    let interrupt = Interrupt::new();
    let mut link = Link::new(selection, &call.env);
    let ended = talk(beginning, &mut link, interrupt, call);
    link.end();
    ended
}

fn talk(
    beginning: Beginning,
    link: &mut Link<'_>,
    interrupt: Interrupt,
    call: &Call,
) -> Result<u8, HermesError> {
    let is_styled = call.env.color.on(true);
    let greeting = Greeting { schema: SCHEMA, session: beginning.session.clone() };
    let body = serde_json::to_vec(&greeting).expect("texts always serialise");
    let said = chat::request(link, WELCOME, &body, &mut || interrupt.came_within(Duration::ZERO))?;
    let Some(Said::Welcome(host)) = said else {
        return Err(HermesError::Interrupted { state: "nothing was asked", hint: None });
    };
    let selection = link.selection();
    let profile = selection.profile.as_str();
    let place = Place { current: call.env.current_dir.clone(), home: call.env.user_home.clone() };
    put(&banner(&host, profile, is_styled));
    let history = selection.home().path().join(HISTORY);
    let mut editor = Editor::new(profile, &history, host.offered.clone(), place.clone(), is_styled);
    let session = match host.before {
        Some(_) => Session::Known(host.session),
        None => Session::New(host.session),
    };
    let page = Page::new(is_styled, size());
    let stage = Stage { page, interrupt, keys: None, ahead: Ahead::default(), turned: clock::now() };
    let Beginning { model, skills, max_turns, yolo, .. } = beginning;
    let mut talk = Talk {
        link,
        stage,
        session,
        model,
        skills,
        max_turns,
        yolo,
        offered: host.offered,
        interrupted: None,
        has_asked: false,
    };
    let code = loop {
        if talk.stage.is_over() {
            break exit::INTERRUPTED;
        }
        let typed = match talk.stage.ahead.line() {
            Some(ahead) => {
                put(&editor.shown(&ahead));
                Typed::Line(ahead)
            }
            None => editor.read(&talk.stage.ahead.rest()).map_err(|source| ChatError::Terminal { source })?,
        };
        match typed {
            Typed::Line(text) => {
                if talk.take(&text, &place) {
                    break exit::OK;
                }
            }
            Typed::End => break exit::OK,
            Typed::Interrupt { was_empty } if was_empty || talk.is_second() => break exit::INTERRUPTED,
            Typed::Interrupt { .. } => talk.interrupted = Some(clock::now()),
            Typed::Signal => break exit::INTERRUPTED,
        }
    };
    put(&format!("\n{}", talk.farewell(profile)));
    Ok(code)
}

/// Who answers, and how one gets on.
fn banner(host: &Host, profile: &str, is_styled: bool) -> String {
    let dim = |line: &str| markdown::dim(line, is_styled);
    let mut lines = vec![
        format!("{} {}", dim("Profile:"), profile),
        format!("{} {}", dim("Model:  "), text::visible(&host.model)),
        format!("{} {}", dim("Session:"), text::visible(&host.session)),
    ];
    if let Some(before) = host.before {
        let s = if before.user == 1 { "" } else { "s" };
        let title = host.title.as_ref().map(|title| format!(" \"{}\"", text::visible(title)));
        lines.push(dim(&format!(
            "↻ Resumed session{} ({} user message{s}, {} total messages)",
            title.unwrap_or_default(),
            before.user,
            before.messages
        )));
    }
    lines.push(dim(HELP));
    lines.join("\n") + "\n\n"
}

/// A conversation.
struct Talk<'l, 'a> {
    link: &'l mut Link<'a>,
    stage: Stage,
    session: Session,
    model: Option<Chosen>,
    skills: Vec<String>,
    max_turns: Option<u32>,
    yolo: bool,
    offered: Vec<Offered>,
    /// When Ctrl-C came last.
    interrupted: Option<Instant>,
    /// There is something to go on with.
    has_asked: bool,
}

impl Talk<'_, '_> {
    /// Takes a line; `true`: somebody wants to leave.
    fn take(&mut self, line: &str, place: &Place) -> bool {
        let found = |path: &Utf8Path| Some(place.whole(path)).filter(|path| path.is_file());
        match intent::read(line, found) {
            Intent::Nothing => {}
            Intent::Leave => return true,
            Intent::Skills => put(&skills(&self.offered)),
            Intent::Ask { text, images } => {
                self.ask(text, images.into_iter().map(camino::Utf8PathBuf::into_string).collect());
            }
            Intent::Command(text) => self.command(text),
        }
        false
    }

    /// Whether Ctrl-C came a moment ago.
    fn is_second(&self) -> bool {
        self.interrupted.is_some_and(|at| at.elapsed() < TWICE)
    }

    fn ask(&mut self, text: String, images: Vec<String>) {
        let (model, provider) = match &self.model {
            Some(chosen) => (Some(chosen.model.clone()), chosen.provider.clone()),
            None => (None, None),
        };
        let question = Question {
            schema: SCHEMA,
            turn: format!("chat-{:016x}", random()),
            session: self.session.clone(),
            text,
            model,
            provider,
            skills: self.skills.clone(),
            max_turns: self.max_turns,
            yolo: self.yolo,
            requests: false,
            images,
            is_attended: true,
        };
        self.stage.begin();
        let mut turn = Turn { stage: &mut self.stage, session: None };
        let ended = chat::ask(self.link, question, &mut turn);
        if let Some(session) = turn.session {
            self.session = Session::Known(session);
            self.has_asked = true;
        }
        let page = &mut self.stage.page;
        match ended {
            Ok(End::Answered { text, finish_reason, out_of_turns, .. }) => {
                put(&page.answered(&text));
                if finish_reason == "length" {
                    put(&page.note("the answer was cut off at the limit on its length (model.max_tokens)"));
                }
                if out_of_turns {
                    put(&page.note("the limit on calls for tools was reached: the answer is a summary"));
                }
            }
            Ok(End::Left) => {
                put(&(page.ended() + &page.note("stopped; what was done so far stays")));
                self.interrupted = Some(clock::now());
            }
            Err(error) => {
                put(&page.ended());
                report(&error);
            }
        }
        put("\n");
        self.stage.keys = None;
    }

    fn command(&mut self, text: String) {
        let session = match &self.session {
            Session::New(id) | Session::Known(id) => id.clone(),
            Session::Last => return,
        };
        let order = Order { schema: SCHEMA, session, text, model: self.model.clone(), yolo: self.yolo };
        let body = serde_json::to_vec(&order).expect("texts always serialise");
        self.stage.begin();
        let stage = &mut self.stage;
        let said = chat::request(self.link, COMMAND, &body, &mut || stage.tick());
        put(&stage.page.ended());
        self.stage.keys = None;
        match said {
            Ok(Some(Said::Told { text, then })) => {
                if !text.is_empty() {
                    put(&self.stage.page.plain(&text));
                    put("\n");
                }
                self.follow(then);
            }
            Ok(Some(_)) => {}
            Ok(None) => self.interrupted = Some(clock::now()),
            Err(error) => {
                report(&HermesError::from(error));
            }
        }
    }

    /// Does what follows from a command.
    fn follow(&mut self, then: Then) {
        match then {
            Then::Nothing | Then::Unknown => {}
            Then::Begin => {
                let id = new_session();
                put(&format!("Session: {id}\n\n"));
                self.session = Session::New(id);
                self.has_asked = false;
            }
            Then::GoOn { session } => {
                self.session = Session::Known(session);
                self.has_asked = true;
            }
            Then::Model { chosen } => self.model = chosen,
            Then::Yolo { yolo } => self.yolo = yolo,
            Then::Ask { text } => self.ask(text, Vec::new()),
        }
    }

    /// Where it can be gone on with.
    fn farewell(&self, profile: &str) -> String {
        let flag = if profile == "default" { String::new() } else { format!(" -p {profile}") };
        match &self.session {
            Session::Known(id) | Session::New(id) if self.has_asked => {
                format!("Resume this session with:\n  hermes{flag} --resume {id}\n")
            }
            _ => String::new(),
        }
    }
}

/// The skills that are there.
fn skills(offered: &[Offered]) -> String {
    let lines: Vec<String> = offered
        .iter()
        .filter(|one| one.is_skill)
        .map(|one| format!("/{} - {}\n", text::visible(&one.name), text::visible(&one.about)))
        .collect();
    if lines.is_empty() { "There are no skills here.\n\n".to_owned() } else { lines.concat() + "\n" }
}

/// The terminal while something is answered.
struct Stage {
    page: Page,
    /// Whoever ends this process from outside.
    interrupt: Interrupt,
    keys: Option<Keys>,
    ahead: Ahead,
    /// When it was last seen that something goes on.
    turned: Instant,
}

impl Stage {
    /// Something is about to be answered.
    fn begin(&mut self) {
        self.keys = Keys::given(Way::Unseen);
        self.page.resize(size());
        self.page.begin();
    }

    /// Whether somebody ends this process.
    fn is_over(&self) -> bool {
        self.interrupt.came_within(Duration::ZERO)
    }

    /// Shows that something goes on; whether somebody wants it to end.
    fn tick(&mut self) -> bool {
        if self.turned.elapsed() >= TURN {
            self.turned = clock::now();
            put(&self.page.tick());
        }
        self.ahead.look() || self.is_over()
    }

    /// Asks something; keys are seen meanwhile.
    fn aside(&mut self, ask: impl FnOnce(&Interrupt) -> Consulted) -> Consulted {
        put(&self.page.step_aside());
        self.keys = None;
        let lines = Keys::given(Way::Lines);
        let consulted = ask(&self.interrupt);
        drop(lines);
        self.keys = Keys::given(Way::Unseen);
        consulted
    }
}

/// A turn on it.
struct Turn<'s> {
    stage: &'s mut Stage,
    /// Its session, once it has begun.
    session: Option<String>,
}

impl Audience for Turn<'_> {
    type Error = HermesError;

    fn left(&mut self) -> bool {
        self.stage.tick()
    }

    fn tell(&mut self, news: News) -> Result<(), HermesError> {
        if let News::Said(Said::Begun { session, .. }) = &news {
            self.session = Some(session.clone());
        }
        self.stage.page.resize(size());
        put(&self.stage.page.tell(&news));
        Ok(())
    }

    fn is_there(&self) -> bool {
        true
    }

    fn consult(&mut self, asked: &Asked) -> Consulted {
        self.stage.aside(|interrupt| consent::ask(asked, |time| interrupt.came_within(time)))
    }

    fn inquire(&mut self, inquiry: &Inquiry) -> Consulted {
        self.stage.aside(|interrupt| consent::inquire(inquiry, |time| interrupt.came_within(time)))
    }
}

fn size() -> Size {
    let (columns, rows) = terminal_size::terminal_size()
        .map_or((80, 24), |(columns, rows)| (usize::from(columns.0), usize::from(rows.0)));
    Size { columns: columns.max(1), rows: rows.max(1) }
}

/// Writes to the terminal at once. One that has gone ends this process by itself.
fn put(bytes: &str) {
    if bytes.is_empty() {
        return;
    }
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes.as_bytes()).and_then(|()| out.flush());
}
