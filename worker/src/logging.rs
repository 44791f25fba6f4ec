//! This profile's logs: `logs/gateway.log` for what the worker says, `logs/gateway.error.log` for warnings and errors alone, and
//! for what it and its children print. Nobody else writes there. A worker that is only examined writes neither.
//!
//! One thread owns both files (`writer`). Log lines reach it through a bounded buffer (`sink`): a full one drops lines and counts them,
//! so neither a flood nor a slow disk ever holds up a request. Printed output reaches it through two pipes that stand in for
//! descriptors 1 and 2 (`stdout` and `stderr` in the log), and is read as fast as it comes; of a flood a part is kept and the rest is counted (`capture`), so that nobody who
//! prints is held up, and the log keeps what stood in it. Equal lines close together are one and a count. Both files are bounded by
//! rotation (`.1`, `.2`, …), have mode 0600, and are never the reason for a crash: what cannot be written is counted, and said once
//! writing works again. What the runtime prints before it aborts gets there, too (`abort`).
//!
//! Line: `2026-11-21 00:30:57,386 INFO gateway.http: message key=value profile=coder generation=3`, local time, always one
//! line. As a last resort, values of the profile's own secrets are replaced by `***`, in printed output as well.

mod abort;
mod capture;
mod layer;
mod line;
mod sink;
mod writer;

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::{Logging as Settings, ProfileConfig};
use hermes_wire::{ProfileHome, ProfileName};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, reload};

use layer::Lines;
pub(crate) use line::{redacted, secrets};
use sink::{Sink, Target};
pub(crate) use writer::Output;

/// Longest wait for the last lines at the end.
const FLUSH: Duration = Duration::from_secs(2);
/// Longest wait in a panic, which may be the last thing that happens.
const PANIC_FLUSH: Duration = Duration::from_millis(200);

/// The installed subscriber and its thread.
pub(crate) struct Logging(Option<Installed>);

struct Installed {
    sink: Arc<Sink>,
    filter: reload::Handle<Targets, tracing_subscriber::Registry>,
    environment: Option<String>,
}

impl Logging {
    /// Nothing is logged. What is printed, a panic for example, stays where it goes.
    pub(crate) fn silent() -> Self {
        Self(None)
    }

    /// Installs the subscriber with default settings.
    ///
    /// A second call in one process (tests) shares nothing with the first and is not installed.
    pub(crate) fn start(
        profile: &ProfileName,
        home: &ProfileHome,
        output: Output,
        filter: Option<String>,
    ) -> io::Result<Self> {
        let sink = writer::start(profile, home, output)?;
        abort::wait_for_the_log();
        let (targets, handle) = reload::Layer::new(targets(filter.as_deref(), "info"));
        let subscriber =
            tracing_subscriber::registry().with(Lines::new(Arc::clone(&sink)).with_filter(targets));
        if tracing::subscriber::set_global_default(subscriber).is_ok() {
            log_panics(Arc::clone(&sink));
        }
        Ok(Self(Some(Installed { sink, filter: handle, environment: filter })))
    }

    /// Applies what the profile's configuration says. `RUST_LOG` wins over the configured level.
    pub(crate) fn configure(&self, settings: &Settings) {
        let Some(Installed { sink, filter, environment }) = &self.0 else { return };
        // Fails only when the subscriber is gone, which is global.
        let _ = filter.reload(targets(environment.as_deref(), &settings.level));
        sink.set_limits(u64::from(settings.max_size_mb.max(1)) * 1024 * 1024, settings.backup_count);
    }

    /// Names the generation, which is known after the handshake.
    pub(crate) fn set_generation(&self, generation: u64) {
        if let Some(Installed { sink, .. }) = &self.0 {
            sink.set_generation(generation);
        }
    }

    /// Keeps the values of these secrets out of every line.
    pub(crate) fn redact(&self, config: &ProfileConfig) {
        if let Some(Installed { sink, .. }) = &self.0 {
            sink.set_secrets(secrets(config));
        }
    }

    /// Writes what is buffered. Returns when that is done, or after a short while.
    pub(crate) fn flush(&self) {
        if let Some(Installed { sink, .. }) = &self.0 {
            sink.flush(FLUSH);
        }
    }
}

/// `RUST_LOG` if it says anything usable, else the configured level; chatty libraries stay one level quieter.
fn targets(environment: Option<&str>, level: &str) -> Targets {
    if let Some(targets) = environment.and_then(|text| text.parse::<Targets>().ok()) {
        return targets;
    }
    let level = level
        .parse::<tracing::level_filters::LevelFilter>()
        .unwrap_or(tracing::level_filters::LevelFilter::INFO);
    let quiet = level.min(tracing::level_filters::LevelFilter::WARN);
    Targets::new().with_default(level).with_targets([
        ("hyper", quiet),
        ("hyper_util", quiet),
        ("rustls", quiet),
        ("reqwest", quiet),
        // It writes out whole messages of tool servers.
        ("rmcp", tracing::level_filters::LevelFilter::OFF),
    ])
}

/// A panic is a bug worth a line, whoever catches it. The default hook's text would land in the other file.
fn log_panics(sink: Arc<Sink>) {
    std::panic::set_hook(Box::new(move |info| {
        let message = panic_text(info.payload());
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let mut text = format!("panicked at {place} on thread `{}`: {message}", thread.name().unwrap_or("?"));
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            text = format!("{text}\n{backtrace}");
        }
        sink.push(Target::Errors, sink.line("ERROR", "gateway.panic", &text));
        sink.flush(PANIC_FLUSH);
    }));
}

/// What a panic says, without the text that it is about: the standard library quotes what could not be cut, and that may be what a
/// user or a model said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    match text.split_once(" of `") {
        Some((about, _)) if text.contains("byte index") || text.contains("byte range") => {
            format!("{about} of a text")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wires 1: the log does not quote an answer, whatever went wrong with it.
    #[test]
    fn w1_a_panic_quotes_no_text() {
        for end in [1, 40] {
            let panic = std::panic::catch_unwind(|| "🦀 what was said"[..end].len()).unwrap_err();
            let text = panic_text(panic.as_ref());
            assert!(text.contains("byte") && !text.contains("what was said"), "{text}");
        }
        let panic = std::panic::catch_unwind(|| panic!("the task `x` is {}", "gone")).unwrap_err();
        assert_eq!(panic_text(panic.as_ref()), "the task `x` is gone");
    }
}
