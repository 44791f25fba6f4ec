//! The supervisor's log: `logs/supervisor.log` in the root home, size-bounded, and standard error.
//!
//! The file has one format with the workers' logs: `2026-11-21 00:30:57,386 INFO supervise: [coder] message key=value`. Standard
//! error has no time, because whoever collects it (a terminal, journald) has its own: `INFO supervise: [coder] message`.
//! Span fields `profile` and `generation` are shown on every line inside the span. A log that cannot be written never stops the
//! gateway.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_protocol::RootHome;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Target of events that are for the file alone: the terminal is told in another way.
pub(crate) const FILE_ONLY: &str = "hermes_supervisor::gateway";

/// Size at which the file is rotated.
const MAX_SIZE: u64 = 5 * 1024 * 1024;
/// Rotated files kept: `.1` is the newest.
const BACKUPS: u32 = 3;

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
    let opened = RotatingFile::open(root.supervisor_log(), MAX_SIZE, BACKUPS);
    let (file, result) = match opened {
        Ok(file) => (Some(Mutex::new(file)), Ok(())),
        Err(e) => (None, Err(e)),
    };
    let stderr_level = verbosity.filter();
    // The file always has INFO; DEBUG only when asked for.
    let file_level = if file.is_some() { stderr_level.max(LevelFilter::INFO) } else { LevelFilter::OFF };
    let log = Log { file, file_level, stderr_level };
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log));
    result
}

struct Log {
    file: Option<Mutex<RotatingFile>>,
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
        let to_stderr = level <= self.stderr_level && event.metadata().target() != FILE_ONLY;
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
        // One event, one line: what comes from outside may hold line ends.
        let line = line.replace('\n', "\\n").replace('\r', "\\r");
        if to_stderr {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
        if let (true, Some(file)) = (to_file, &self.file) {
            let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f");
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_line(&format!("{now} {line}\n"));
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

/// `hermes_supervisor::supervise::actor` is `supervise.actor`.
fn short_target(target: &str) -> String {
    let short = target.strip_prefix("hermes_supervisor::").unwrap_or(target);
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

/// A file that is renamed to `.1` when it grows beyond its limit, the older ones moving up.
#[derive(Debug)]
struct RotatingFile {
    path: Utf8PathBuf,
    limit: u64,
    backups: u32,
    file: fs_err::File,
    size: u64,
}

impl RotatingFile {
    fn open(path: Utf8PathBuf, limit: u64, backups: u32) -> io::Result<Self> {
        if let Some(dir) = path.parent()
            && !dir.is_dir()
        {
            fs_err::create_dir(dir)?;
            fs_err::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        let file = append_to(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, limit, backups, file, size })
    }

    fn write_line(&mut self, line: &str) {
        if self.size > 0 && self.size + line.len() as u64 > self.limit {
            self.rotate();
        }
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.size += line.len() as u64;
        }
    }

    fn rotate(&mut self) {
        for n in (1..self.backups).rev() {
            let _ = fs_err::rename(self.backup(n), self.backup(n + 1));
        }
        if fs_err::rename(&self.path, self.backup(1)).is_err() {
            // Cannot make room by renaming: a bounded log is worth more than an old one.
            let _ = self.file.set_len(0);
        }
        if let Ok(file) = append_to(&self.path) {
            self.file = file;
        }
        self.size = 0;
    }

    fn backup(&self, n: u32) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("{}.{n}", self.path))
    }
}

fn append_to(path: &Utf8Path) -> io::Result<fs_err::File> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    fs_err::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_stays_bounded_and_backups_move_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("logs/supervisor.log");
        let mut file = RotatingFile::open(path.clone(), 100, 2).unwrap();
        for n in 0..40 {
            file.write_line(&format!("line number {n:4}\n"));
        }
        let text = |p: &str| fs_err::read_to_string(p).unwrap();
        assert!(text(path.as_str()).ends_with("line number   39\n"));
        for n in 0..=2 {
            let name = if n == 0 { path.to_string() } else { format!("{path}.{n}") };
            assert!(text(&name).len() <= 100, "{name}");
        }
        assert!(!Utf8PathBuf::from(format!("{path}.3")).exists());
    }

    #[test]
    fn a_line_names_level_place_profile_and_fields_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("supervisor.log");
        let file = RotatingFile::open(path.clone(), MAX_SIZE, BACKUPS).unwrap();
        let log = Log {
            file: Some(Mutex::new(file)),
            file_level: LevelFilter::INFO,
            stderr_level: LevelFilter::OFF,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            let name: hermes_protocol::ProfileName = "coder".parse().unwrap();
            let _span = tracing::info_span!("worker", profile = %name, generation = 3).entered();
            tracing::warn!(pid = 54, profile = %name, "starting -> ready\nforged line");
            tracing::debug!("not shown");
        });
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
