//! The supervisor's log: `logs/supervisor.log` in the root home, size-bounded, and standard error.
//!
//! The file has one format with the workers' logs: `2026-11-21 00:30:57,386 INFO supervise: [coder] message key=value`. Standard
//! error has no time, because whoever collects it (a terminal, journald) has its own: `INFO supervise: [coder] message`.
//! Span fields `profile` and `generation` are shown on every line inside the span.
//!
//! Nobody who logs waits: each of the two places has a queue and a thread of its own (`outlet`), so that neither a reader that does not
//! read nor a disk that hangs ever stops the gateway. What is dropped is counted. Equal lines close together are one line and a count
//! ([`hermes_host::repeats`]). What comes from outside is shown, never obeyed.

mod file;
pub(crate) mod outlet;

use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use hermes_host::clock;
use hermes_host::repeats::Line;
use hermes_wire::{RootHome, text};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use file::{LogFile, Stderr};
use outlet::Outlet;

/// Target of events that are for the file alone: the terminal is told in another way.
pub(crate) const FILE_ONLY: &str = "hermes_gateway::gateway";

/// Target of events that a person in front of the terminal waits for: shown there, at whatever level, unless it is to be quiet.
pub(crate) const TERMINAL: &str = "hermes_gateway::stop";

/// Size at which the file is rotated.
const MAX_SIZE: u64 = 5 * 1024 * 1024;
/// Rotated files kept: `.1` is the newest.
const BACKUPS: u32 = 3;
/// Longest line in bytes; what is longer is cut and says so.
const MAX_LINE: usize = 16 * 1024;
/// Longest wait for the last lines.
const FLUSH: Duration = Duration::from_millis(500);

/// How much goes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// Warnings and errors.
    #[default]
    Normal,
    /// `-v`
    Verbose,
    /// `-vv`
    Debug,
}

impl Verbosity {
    /// From the command line's flags.
    pub fn from_flags(verbose: u8, quiet: bool) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Verbose,
            (false, _) => Self::Debug,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Quiet => LevelFilter::OFF,
            Self::Normal => LevelFilter::WARN,
            Self::Verbose => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// Starts logging for the whole process. A second call changes nothing.
///
/// Returns why there is no log file, where there is none; standard error works regardless.
pub fn init(root: &RootHome, verbosity: Verbosity) -> Result<(), io::Error> {
    let opened = LogFile::open(root.supervisor_log(), MAX_SIZE, BACKUPS);
    let opened = opened.and_then(|file| Outlet::start("log-file", file));
    let (file, result) = match opened {
        Ok(file) => (Some(file), Ok(())),
        Err(e) => (None, Err(e)),
    };
    let stderr = Stderr::new().and_then(|sink| Outlet::start("log-stderr", sink)).ok();
    let stderr_level = verbosity.filter();
    // The file always has INFO; DEBUG only when asked for.
    let file_level = if file.is_some() { stderr_level.max(LevelFilter::INFO) } else { LevelFilter::OFF };
    let outlets = OUTLETS.get_or_init(|| Outlets { file, stderr });
    let log = Log { outlets, file_level, stderr_level };
    if tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log)).is_ok() {
        // The usual hook prints, which may block.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    result
}

/// Waits, not for long, until what was logged is written. Call it when this process becomes another one.
pub fn flush() {
    let deadline = clock::now() + FLUSH;
    for outlet in outlets() {
        outlet.flush(deadline);
    }
}

/// The same, and joins the threads that write: nothing is logged any more. Call it when this process ends.
pub fn end() {
    let deadline = clock::now() + FLUSH;
    for outlet in outlets() {
        outlet.end(deadline);
    }
}

fn outlets() -> impl Iterator<Item = &'static Outlet> {
    OUTLETS.get().into_iter().flat_map(|outlets| outlets.file.iter().chain(&outlets.stderr))
}

/// Prints `text` on standard error without waiting for a reader longer than [`flush`] does. False: nothing was started here, and
/// the caller prints.
pub fn print(text: &str) -> bool {
    let Some(stderr) = OUTLETS.get().and_then(|outlets| outlets.stderr.as_ref()) else { return false };
    stderr.push(Line::new(text.trim_end_matches('\n').to_owned()));
    flush();
    true
}

/// Of this process; there is one log.
static OUTLETS: OnceLock<Outlets> = OnceLock::new();

#[derive(Debug)]
struct Outlets {
    file: Option<Outlet>,
    stderr: Option<Outlet>,
}

struct Log {
    outlets: &'static Outlets,
    file_level: LevelFilter,
    stderr_level: LevelFilter,
}

/// Span fields that every line inside shows.
struct SpanText(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.file_level.max(self.stderr_level))
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>, _context: Context<'_, S>) -> bool {
        let most = self.file_level.max(self.stderr_level);
        // Libraries explain themselves at DEBUG more than anybody wants to read.
        let ours = metadata.target().starts_with("hermes");
        *metadata.level() <= if ours { most } else { most.min(LevelFilter::INFO) }
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut text = fields.profile.map(|p| format!("[{p}] ")).unwrap_or_default();
        if !fields.rest.is_empty() {
            // Spans' other fields come before the message, in the same brackets as the profile.
            text = format!("{}[{}] ", text, fields.rest.trim_start());
        }
        span.extensions_mut().insert(SpanText(text));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        let to_stderr = match event.metadata().target() {
            FILE_ONLY => false,
            TERMINAL => self.stderr_level > LevelFilter::OFF,
            _ => level <= self.stderr_level,
        };
        let to_file = level <= self.file_level;
        if !to_file && !to_stderr {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = String::with_capacity(160);
        let _ = write!(line, "{} {}: ", level_name(level), short_target(event.metadata().target()));
        let before = line.len();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(text) = span.extensions().get::<SpanText>() {
                    line.push_str(&text.0);
                }
            }
        }
        if let Some(profile) = fields.profile.filter(|p| !line[before..].contains(&format!("[{p}] "))) {
            let _ = write!(line, "[{profile}] ");
        }
        line.push_str(&fields.message);
        line.push_str(&fields.rest);
        // One event, one line, which nobody outside can forge or hide.
        let mut line = text::visible(&line).into_owned();
        if line.len() > MAX_LINE {
            line.truncate(line.floor_char_boundary(MAX_LINE));
            line.push_str(" … (cut)");
        }
        let line = Line::new(line);
        let file = self.outlets.file.as_ref().filter(|_| to_file);
        let stderr = self.outlets.stderr.as_ref().filter(|_| to_stderr);
        if let (Some(file), Some(stderr)) = (file, stderr) {
            file.push(line.clone());
            stderr.push(line);
        } else if let Some(outlet) = file.or(stderr) {
            outlet.push(line);
        }
    }
}

fn level_name(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "ERROR",
        tracing::Level::WARN => "WARNING",
        tracing::Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

/// `hermes_gateway::supervise::actor` is `supervise.actor`.
fn short_target(target: &str) -> String {
    let short = ["hermes_gateway::", "hermes_cli::"]
        .iter()
        .find_map(|crate_| target.strip_prefix(crate_))
        .unwrap_or(target);
    short.replace("::", ".")
}

#[derive(Default)]
struct Fields {
    message: String,
    profile: Option<String>,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            "profile" => self.profile = Some(format!("{value:?}").trim_matches(['`', '"']).to_owned()),
            name => {
                let _ = write!(self.rest, " {name}={value:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn a_line_names_level_place_profile_and_fields_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("supervisor.log");
        let file = LogFile::open(path.clone(), MAX_SIZE, BACKUPS).unwrap();
        let outlet = Outlet::start("test", file).unwrap();
        let outlets: &'static Outlets =
            Box::leak(Box::new(Outlets { file: Some(outlet.clone()), stderr: None }));
        let log = Log { outlets, file_level: LevelFilter::INFO, stderr_level: LevelFilter::OFF };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            let name: hermes_wire::ProfileName = "coder".parse().unwrap();
            let _span = tracing::info_span!("worker", profile = %name, generation = 3).entered();
            tracing::warn!(pid = 54, profile = %name, "starting -> ready\nforged line");
            tracing::debug!("not shown");
        });
        assert!(outlet.flush(hermes_host::clock::now() + Duration::from_secs(30)));
        let text = fs_err::read_to_string(path).unwrap();
        let (time, rest) = text.split_at(24);
        assert_eq!(time.as_bytes()[19], b',', "{text}");
        assert_eq!(
            rest,
            "WARNING logging.tests: [coder] [generation=3] starting -> ready\\nforged line pid=54\n"
        );
    }

    #[test]
    fn flags_choose_the_level() {
        assert_eq!(Verbosity::from_flags(0, false).filter(), LevelFilter::WARN);
        assert_eq!(Verbosity::from_flags(1, false).filter(), LevelFilter::INFO);
        assert_eq!(Verbosity::from_flags(5, false).filter(), LevelFilter::DEBUG);
        assert_eq!(Verbosity::from_flags(2, true).filter(), LevelFilter::OFF);
    }
}
