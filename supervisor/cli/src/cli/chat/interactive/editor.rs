//! The line that is typed: keys, history, completion. The one place that knows of the library for it.
//!
//! While a line is typed the terminal gives keys as they are, and whoever ends this process from outside is heard between two of them, so
//! that the terminal is left in order.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use hermes_host::wait;
use hermes_wire::terminal::Offered;
use reedline::{
    ColumnarMenu, Completer, CompletionResult, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers,
    MenuBuilder as _, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline,
    ReedlineEvent, ReedlineMenu, Signal, Span, Suggestion, ValidationResult, Validator,
    default_emacs_keybindings,
};

use super::super::super::interrupt::Interrupt;
use super::complete::{Names, complete};
use super::intent::goes_on;

/// Lines that are remembered.
const REMEMBERED: usize = 2000;
/// What Ctrl-C is known as here.
const INTERRUPT: &str = "interrupt";
/// The menu of completions.
const MENU: &str = "completions";
/// Time between two looks at signals.
const LOOK: Duration = Duration::from_millis(100);
/// Most names that are read of a directory.
const NAMES: usize = 2000;

/// What came of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// It.
    Line(String),
    /// Ctrl-C, where nothing stood in the line or where something did.
    Interrupt { was_empty: bool },
    /// Ctrl-D.
    End,
    /// Somebody ends this process.
    Signal,
}

/// See the module.
pub(super) struct Editor {
    line: Reedline,
    prompt: Sign,
    _watch: Watch,
}

impl Editor {
    /// `history`: where lines are kept; without one that can be used they are remembered here alone.
    pub(super) fn new(
        profile: &str,
        history: &Utf8Path,
        offered: Vec<Offered>,
        place: Place,
        is_styled: bool,
    ) -> Self {
        let mut keys = default_emacs_keybindings();
        let newline = || ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
        keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline());
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::Enter, newline());
        keys.add_binding(
            KeyModifiers::NONE,
            KeyCode::Tab,
            ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]),
        );
        let interrupt = ReedlineEvent::ExecuteHostCommand(INTERRUPT.to_owned());
        keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('c'), interrupt);
        let menu = ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU)));
        let watch = Watch::begin();
        let line = Reedline::create()
            .with_ansi_colors(is_styled)
            .use_bracketed_paste(true)
            .with_validator(Box::new(Backslash))
            .with_completer(Box::new(Files { offered, place }))
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_menu(menu)
            .with_edit_mode(Box::new(Emacs::new(keys)))
            .with_history(Box::new(remembered(history)))
            .with_break_signal(Arc::clone(&watch.came))
            .with_poll_interval(LOOK);
        let name =
            if matches!(profile, "default" | "custom") { String::new() } else { format!("{profile} ") };
        Self { line, prompt: Sign(name), _watch: watch }
    }

    /// A line that was typed before it could be seen, as it would have been.
    pub(super) fn shown(&self, line: &str) -> String {
        format!("{}❯ {}\n", self.prompt.0, hermes_wire::text::visible(line))
    }

    /// The next line, of which `begun` was typed already.
    pub(super) fn read(&mut self, begun: &str) -> std::io::Result<Typed> {
        if !begun.is_empty() {
            self.line.run_edit_commands(&[EditCommand::InsertString(begun.to_owned())]);
        }
        Ok(match self.line.read_line(&self.prompt)? {
            Signal::Success(line) => {
                // Whoever is killed later has typed it.
                let _ = self.line.sync_history();
                Typed::Line(line)
            }
            Signal::CtrlD => Typed::End,
            Signal::HostCommand(_) => {
                let was_empty = self.line.current_buffer_contents().is_empty();
                self.line.run_edit_commands(&[EditCommand::Clear]);
                Typed::Interrupt { was_empty }
            }
            Signal::ExternalBreak(_) => Typed::Signal,
            // `CtrlC` ends a search in the history.
            _ => Typed::Interrupt { was_empty: false },
        })
    }
}

/// Looks for whoever ends this process, while somebody types.
struct Watch {
    /// They came. Taken by whoever hears it, and set again.
    came: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn begin() -> Self {
        let (came, is_over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (tell, stop) = (Arc::clone(&came), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let interrupt = Interrupt::new();
            while !stop.load(Ordering::Relaxed) {
                if interrupt.came_within(LOOK) {
                    tell.store(true, Ordering::Relaxed);
                    wait::pause(LOOK);
                }
            }
        });
        Self { came, is_over, thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The history in a file that nobody else can read.
fn remembered(path: &Utf8Path) -> FileBackedHistory {
    let made = fs_err::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let opened = made.ok().and_then(|_| FileBackedHistory::with_file(REMEMBERED, path.into()).ok());
    opened.unwrap_or_default()
}

/// What stands in front of the line: `coder ❯ `.
struct Sign(String);

impl Prompt for Sign {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("❯ ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("  ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = matches!(search.status, PromptHistorySearchStatus::Failing);
        Cow::Owned(format!("({}search: {}) ", if failing { "nothing found, " } else { "" }, search.term))
    }
}

/// A line goes on behind a backslash.
struct Backslash;

impl Validator for Backslash {
    fn validate(&self, line: &str) -> ValidationResult {
        if goes_on(line) { ValidationResult::Incomplete } else { ValidationResult::Complete }
    }
}

/// Completes commands, skills and files.
struct Files {
    offered: Vec<Offered>,
    place: Place,
}

impl Completer for Files {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let upto = line.get(..pos).unwrap_or_default();
        let all = complete(upto, &self.offered, |directory| names(&self.place, directory));
        let suggestions: Vec<Suggestion> = all
            .into_iter()
            .map(|one| Suggestion {
                value: one.value,
                description: Some(one.about).filter(|about| !about.is_empty()),
                span: Span::new(one.from, pos),
                append_whitespace: one.is_whole,
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

/// Where somebody types.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) current: Utf8PathBuf,
    pub(super) home: Option<Utf8PathBuf>,
}

impl Place {
    /// A path as they typed it, whole; `~/` is their home.
    pub(super) fn whole(&self, path: &Utf8Path) -> Utf8PathBuf {
        match path.strip_prefix("~").ok().zip(self.home.as_ref()) {
            Some((rest, home)) => home.join(rest),
            None => self.current.join(path),
        }
    }
}

/// What is in a directory as somebody typed it.
fn names(place: &Place, directory: &str) -> Names {
    let Ok(entries) = fs_err::read_dir(place.whole(Utf8Path::new(directory))) else { return Names::new() };
    let name = |entry: fs_err::DirEntry| {
        let is_directory = entry.path().is_dir();
        entry.file_name().into_string().ok().map(|name| (name, is_directory))
    };
    entries.filter_map(Result::ok).take(NAMES).filter_map(name).collect()
}
