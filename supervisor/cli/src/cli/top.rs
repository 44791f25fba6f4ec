//! `hermes top`: all profiles on a terminal, as they are, with keys for what is usually done about one.
//!
//! This thread draws and hears keys and signals, and waits for nothing else: status and logs are looked at by a thread of their own, and so is
//! everything that is asked of the gateway. However it ends, the terminal is as it was.

use std::io::{self, IsTerminal as _, Stdout};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::Args;
use hermes_host::{child, clock, wait, zone};
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::{ProfileName, exit};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};

use super::interrupt::Interrupt;
use super::{Call, NotOne, status};
use crate::error::{CommandError, HermesError};
use crate::home::{Selection, Surroundings};
use crate::logs::{self, Filter, Following, Look, Name, Place, Span};
use crate::top::draw::{Paint, draw};
use crate::top::model::{Key, Line, Model, Order, Over, Verb};
use crate::why;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long keys are waited for before signals and news are looked at again.
const TURN: Duration = Duration::from_millis(80);
/// Records of the logs that are shown at first.
const RECORDS: u64 = 50;
/// Logs that are looked at: each is an open file.
const LOGS: usize = 600;
/// How long the gateway has to do what is asked of it.
const ASKED: Duration = Duration::from_mins(5);

/// Arguments of `hermes top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: ↑ ↓ select, r restart, s stop (asks first), t start, w why, l log, ? help, q quit. It needs a terminal; without one \
    `hermes status --watch` shows the same."
)]
pub(super) struct TopArgs {
    #[command(flatten)]
    _whose: NotOne,
}

/// What comes from other threads.
enum News {
    Status(Box<GatewayStatus>),
    Log(Vec<Line>),
    /// What came of something that was asked.
    Said(String),
    Why {
        name: String,
        text: String,
    },
}

/// Shows it until somebody leaves.
pub(super) fn run(_args: &TopArgs, call: &Call) -> Result<u8, HermesError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(CommandError::NoTerminal.into());
    }
    let selection = call.select_and_warn()?;
    // Before any other thread: they all leave these signals to it.
    let interrupt = Interrupt::new();
    let (tell, news) = channel();
    look_on(selection.clone(), call.env.clone(), tell.clone());
    let mut screen = Screen::open()?;
    let shown = show(&mut screen, &interrupt, (&tell, &news), &selection, &call.env);
    drop(screen);
    Ok(shown.map(|()| exit::OK)?)
}

/// The terminal, given back as it was.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    fn open() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(Self(Terminal::new(CrosstermBackend::new(io::stdout()))?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whatever works: a terminal that has gone needs nothing.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

fn show(
    screen: &mut Screen,
    interrupt: &Interrupt,
    (tell, news): (&Sender<News>, &Receiver<News>),
    selection: &Selection,
    env: &Surroundings,
) -> io::Result<()> {
    let mut model = Model::new();
    let paint = Paint(env.colors());
    let mut page = 1;
    loop {
        for news in news.try_iter() {
            match news {
                News::Status(status) => model.take(*status, clock::now()),
                News::Log(lines) => model.add(lines),
                News::Said(text) => model.say(text, clock::now()),
                News::Why { name, text } => model.over = Over::Why { name, text, from: 0 },
            }
        }
        screen.0.draw(|frame| page = draw(frame, &model, paint, clock::now()))?;
        if interrupt.came_within(Duration::ZERO) {
            return Ok(());
        }
        if !event::poll(TURN)? {
            continue;
        }
        // All that wait, so that a key that is held down is not drawn one by one.
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            let Some(key) = known(key) else { continue };
            match key {
                Pressed::Interrupt => return Ok(()),
                Pressed::Key(key) => match model.press(key, page) {
                    Some(Order::Quit) => return Ok(()),
                    Some(Order::Ask(verb, name)) => {
                        model.say(format!("{} {name} …", verb.word()), clock::now());
                        ask(verb, name, selection, tell);
                    }
                    Some(Order::Why(name)) => tell_why(name, selection, env, tell),
                    None => {}
                },
            }
        }
    }
}

enum Pressed {
    Key(Key),
    Interrupt,
}

fn known(key: KeyEvent) -> Option<Pressed> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(Pressed::Key(match key.code {
        KeyCode::Char('c' | 'd') if control => return Some(Pressed::Interrupt),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Char(c) if !control => Key::Char(c),
        _ => return None,
    }))
}

/// Looks at status and logs for as long as somebody wants to know.
fn look_on(selection: Selection, env: Surroundings, tell: Sender<News>) {
    let look = move || {
        let mut names = Vec::new();
        let mut following: Option<Following> = None;
        loop {
            let status = status::look(&selection, None, &env);
            let now: Vec<ProfileName> = status.profiles.iter().filter_map(|p| p.name.parse().ok()).collect();
            if tell.send(News::Status(Box::new(status))).is_err() {
                return;
            }
            let places = |names: &[ProfileName]| {
                let mut all = logs::places(&selection.root, &Name::Agent, names, true, None);
                all.truncate(LOGS);
                all
            };
            let mut lines = Vec::new();
            match &mut following {
                Some(following) if now != names => places(&now).into_iter().for_each(|p| following.add(p)),
                Some(_) => {}
                None => following = Some(ends(places(&now), &mut lines)),
            }
            names = now;
            if let Some(open) = &mut following {
                let look = open.look();
                open.entries(&look).for_each(|entry| add(&mut lines, &entry));
                if look.more {
                    // Faster than anybody reads: only the end.
                    lines.clear();
                    *open = ends(places(&names), &mut lines);
                }
            }
            if !lines.is_empty() && tell.send(News::Log(lines)).is_err() {
                return;
            }
            wait::pause(EVERY);
        }
    };
    // It ends with this process: a gateway that does not answer keeps nobody.
    drop(std::thread::Builder::new().name("look".to_owned()).spawn(look));
}

/// The last records of these logs, and what comes after them.
fn ends(places: Vec<Place>, lines: &mut Vec<Line>) -> Following {
    let mut merged = logs::read(places, Filter::default(), Span { last: Some(RECORDS), follow: true });
    while let Some(entry) = merged.next() {
        add(lines, &entry);
    }
    merged.follow()
}

fn add(lines: &mut Vec<Line>, entry: &logs::Entry<'_>) {
    let mut text = String::new();
    logs::human(&mut text, entry, Look { color: false, label: None });
    let line = |text: &str| Line { profile: entry.place.label.clone(), text: text.to_owned() };
    lines.extend(text.lines().map(line));
}

/// Does what the command of that name does, and tells what came of it.
fn ask(verb: Verb, name: String, selection: &Selection, tell: &Sender<News>) {
    let (root, tell) = (selection.root.path().to_owned(), tell.clone());
    let work = move || {
        let mut command = child::own();
        command.args(["--color=never", "-p", &name, "gateway", verb.word()]);
        command.env(hermes_wire::env::HERMES_HOME, root);
        let said = match child::run(command, ASKED) {
            Ok(output) => last_word(&output),
            Err(error) => format!("✗ {error}"),
        };
        // Nobody may be left to read it.
        let _ = tell.send(News::Said(said));
    };
    drop(std::thread::Builder::new().name("ask".to_owned()).spawn(work));
}

/// What a command says in the end; where it failed, why.
fn last_word(output: &std::process::Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, failed) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() {
        return said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("✓ done").to_owned();
    }
    let why = failed.lines().find_map(|line| line.strip_prefix("Error: "));
    format!("✗ {}", why.or_else(|| failed.lines().next()).unwrap_or("it failed and does not say why"))
}

fn tell_why(name: String, selection: &Selection, env: &Surroundings, tell: &Sender<News>) {
    let (selection, env, tell) = (selection.clone(), env.clone(), tell.clone());
    let work = move || {
        let Ok(profile) = name.parse::<ProfileName>() else { return };
        let status = status::look(&selection, Some(&profile), &env);
        let text =
            why::of(&status, &selection.root, &profile).map(|why| why::human(&why, &zone::system(), false));
        let _ = tell.send(News::Why { name, text: text.unwrap_or_default() });
    };
    drop(std::thread::Builder::new().name("why".to_owned()).spawn(work));
}
