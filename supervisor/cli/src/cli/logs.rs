//! `hermes logs`: what is asked for, the header, and the loop that follows.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use clap::Args;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use hermes_gateway::watch;
use hermes_host::{clock, zone};
use hermes_wire::{ProfileHome, ProfileName, exit};
use jiff::Zoned;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Call;
use super::interrupt::Interrupt;
use super::output::{self, Output};
use crate::error::{HermesError, LogsError};
use crate::home::{Chosen, Selection};
use crate::logs::{self, BadTime, End, Filter, Following, Level, Look, NAMES, Name, Place, Span};

/// Records where nobody says how many.
const LINES: u64 = 50;
/// Time between two looks for new records.
const EVERY: Duration = Duration::from_millis(200);
/// Looks between two looks for new profiles.
const LOOKS: u32 = 10;
/// What is printed at once.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "A record is a line with a time and the lines behind it that have none. With -n (or neither --since nor -n) the last ones \
    are shown, with --since alone all from then on; rotated files (.1, .2, …) are read where they are needed. With --all records of all \
    profiles and of the gateway are merged by time. No gateway needs to run.\n\n\
    Times: 90s, 30m, 1h, 2d, 1h30m ago; 2026-11-21, '2026-11-21 07:30', 07:30, yesterday; with a zone or in local time.\n\
    Exit codes: 0, also after Ctrl-C while following; 1 when something cannot be read or is not there, 2 for a wrong command line.\n\n\
    Examples:\n  hermes logs\n  hermes -p coder logs -f\n  hermes logs --all --level warning --since 1h\n  \
    hermes logs gateway --grep '(?i)timeout' -n 200\n  hermes logs supervisor -f\n  \
    hermes logs --all --since today --json | jq -r 'select(.level == \"ERROR\") | .message'\n  hermes logs list"
)]
pub(super) struct LogsArgs {
    /// Which log, or `list` for the files there are; any file of the folder by its name, too [default: agent].
    #[arg(value_name = "NAME", value_parser = Known(log_names), hide_possible_values = true)]
    name: Option<String>,
    /// Wait for more, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// So many records, the last ones [default: 50, or all with --since].
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u64>,
    /// Records at least this bad: DEBUG, INFO, WARNING, ERROR, CRITICAL.
    #[arg(long, value_name = "LEVEL", value_parser = Known(level_names), hide_possible_values = true)]
    level: Option<String>,
    /// Not older than this: 1h, 30m, 2d, or a time.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Not newer than this.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Records whose first line names this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Records of this component: gateway, agent, tools, cron, or the beginning of a dotted name.
    #[arg(long, value_name = "NAME", value_parser = Known(component_names), hide_possible_values = true)]
    component: Option<String>,
    /// Records in which this regular expression is found; (?i) for letters of any size.
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    grep: Option<String>,
    /// Of all profiles, and of the gateway.
    #[arg(long)]
    all: bool,
    /// For programs: an object a record, one a line.
    #[arg(long)]
    json: bool,
}

/// Words that are offered to who completes; others are judged where they are used, in words that scripts know.
#[derive(Debug, Clone, Copy)]
struct Known(fn() -> Vec<PossibleValue>);

impl TypedValueParser for Known {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0().into_iter()))
    }
}

fn log_names() -> Vec<PossibleValue> {
    let list = PossibleValue::new(LIST).help("which files there are");
    NAMES.into_iter().map(|(name, help)| PossibleValue::new(name).help(help)).chain([list]).collect()
}

fn level_names() -> Vec<PossibleValue> {
    ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].into_iter().map(PossibleValue::new).collect()
}

fn component_names() -> Vec<PossibleValue> {
    logs::COMPONENTS.into_iter().map(|(name, _)| PossibleValue::new(name)).collect()
}

/// In the place of a log's name.
const LIST: &str = "list";

/// `hermes logs`.
pub(super) fn run(args: &LogsArgs, call: &Call, out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    // Many profiles have many logs, each with its predecessors.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if args.all && call.flag.is_some() {
        return Err(LogsError::OneAndAll.into());
    }
    let asked = Asked { args, selection: &selection };
    if args.name.as_deref() == Some(LIST) {
        return asked.list(out);
    }
    let name = asked.name()?;
    let filter = asked.filter()?;
    let color = call.env.color.on(std::io::IsTerminal::is_terminal(&io::stdout()));
    asked.show(&name, filter, color, out)
}

/// What an option says, read by one of the two readers of times.
pub(super) fn time<T>(
    option: &'static str,
    text: Option<&str>,
    end: End,
    read: fn(&str, &Zoned, End) -> Result<T, BadTime>,
) -> Result<Option<T>, LogsError> {
    let read = |text: &str| read(text, &clock::utc().to_zoned(zone::system()), end);
    let of = |text: &str| read(text).map_err(|_| LogsError::Time { option, text: text.to_owned() });
    text.map(of).transpose()
}

/// What is asked for, of whom.
struct Asked<'a> {
    args: &'a LogsArgs,
    selection: &'a Selection,
}

impl Asked<'_> {
    /// The profiles it is about.
    fn profiles(&self) -> Vec<ProfileName> {
        if self.args.all {
            return watch::scan(&self.selection.root).names().cloned().collect();
        }
        vec![self.selection.profile.clone()]
    }

    fn homes(&self) -> Vec<ProfileHome> {
        self.profiles().iter().map(|name| self.selection.root.profile(name)).collect()
    }

    fn name(&self) -> Result<Name, LogsError> {
        let Some(word) = &self.args.name else { return Ok(Name::Agent) };
        let homes = self.homes();
        Name::find(word, &homes).ok_or_else(|| {
            let is_profile = watch::scan(&self.selection.root)
                .names()
                .find(|name| name.as_str() == word.as_str())
                .cloned();
            let mut known: Vec<String> = NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
            let files = homes.iter().flat_map(|home| logs::in_folder(home).unwrap_or_default());
            known.extend(files.filter_map(|file| file.name.strip_suffix(".log").map(str::to_owned)));
            known.sort();
            known.dedup();
            LogsError::Unknown { name: word.clone(), known, profile: is_profile }
        })
    }

    fn filter(&self) -> Result<Filter, LogsError> {
        let args = self.args;
        let level = match &args.level {
            Some(word) => Some(Level::from_word(word).ok_or_else(|| LogsError::Level(word.clone()))?),
            None => None,
        };
        Ok(Filter {
            level,
            since: time("--since", args.since.as_deref(), End::Since, logs::time)?,
            until: time("--until", args.until.as_deref(), End::Until, logs::time)?,
            session: args.session.clone(),
            component: args.component.as_deref().map(logs::component),
            grep: args
                .grep
                .as_deref()
                .map(logs::grep)
                .transpose()
                .map_err(|error| LogsError::Pattern(error.to_string()))?,
        })
    }

    fn places(&self, name: &Name) -> Vec<Place> {
        let Selection { root, profile, chosen, .. } = self.selection;
        let gateways = self.args.all && *name == Name::Agent;
        // A sticky profile is for commands that need one: the gateway's log is one for all.
        let is_named = matches!(chosen, Chosen::Flag | Chosen::Home) && !profile.is_default();
        logs::places(root, name, &self.profiles(), gateways, Some(profile).filter(|_| is_named))
    }

    fn show(&self, name: &Name, filter: Filter, color: bool, out: Output) -> Result<u8, HermesError> {
        let args = self.args;
        let places = self.places(name);
        let last = match args.lines {
            None if filter.since.is_some() => None,
            lines => Some(lines.unwrap_or(LINES)),
        };
        let file = places.first().map(|place| place.path.clone()).unwrap_or_default();
        let mut writer = Writer {
            out,
            text: String::new(),
            zone: args.json.then(zone::system),
            look: Look { color, label: label(&places) },
            records: 0,
        };
        if !args.json && writer.out.rows().is_some() {
            writer.text = self.header(name, &file, last);
        }
        let span = Span { last, follow: args.follow };
        let mut merged = logs::read(places, filter, span);
        if merged.is_empty() && merged.troubles.is_empty() && !args.follow {
            return Err(LogsError::NotFound { file }.into());
        }
        while let Some(entry) = merged.next() {
            writer.take(&entry)?;
        }
        let mut unread = merged.troubles.iter().map(ToString::to_string).collect::<Vec<_>>();
        unread.dedup();
        if args.follow {
            writer.flush()?;
            for text in &unread {
                output::warn(text);
            }
            return self.follow(name, merged.follow(), writer);
        }
        writer.flush()?;
        for text in &unread {
            output::warn(text);
        }
        if writer.records == 0 && unread.is_empty() && !args.json {
            output::note("no record is like that; `hermes logs list` shows what there is");
        }
        Ok(if unread.is_empty() { exit::OK } else { exit::FAILURE })
    }

    fn follow(&self, name: &Name, mut following: Following, mut writer: Writer) -> Result<u8, HermesError> {
        let interrupt = Interrupt::new();
        for look in 0_u32.. {
            if look > 0 && look.is_multiple_of(LOOKS) && self.args.all {
                self.places(name).into_iter().for_each(|place| following.add(place));
                writer.look.label = writer.look.label.max(label(following.places()));
            }
            let new = following.look();
            for entry in following.entries(&new) {
                writer.take(&entry)?;
            }
            writer.flush()?;
            new.notes.iter().for_each(|text| output::note(text));
            let wait = if new.more { Duration::ZERO } else { EVERY };
            if interrupt.came_within(wait) {
                break;
            }
            if is_closed() {
                return Ok(exit::OK);
            }
        }
        if !self.args.json && writer.out.rows().is_some() {
            writer.out.line("--- stopped ---")?;
        }
        Ok(exit::OK)
    }

    /// `--- ~/.hermes/logs/gateway.log [level>=ERROR, since=1h] (last 3) ---`, as 0.19.0 has it.
    fn header(&self, name: &Name, file: &camino::Utf8Path, last: Option<u64>) -> String {
        let args = self.args;
        let what = if args.all {
            let log = args.name.as_deref().unwrap_or("logs");
            format!("{log} of all profiles in {}", self.selection.root.path())
        } else if *name == Name::Agent {
            format!("{} of '{}'", self.selection.home().logs(), self.selection.profile)
        } else {
            file.to_string()
        };
        let mut conditions = Vec::new();
        let level = args.level.as_ref().map(|level| level.to_ascii_uppercase());
        for (name, value) in [
            ("level>=", &level),
            ("session=", &args.session),
            ("component=", &args.component),
            ("since=", &args.since),
            ("until=", &args.until),
            ("grep=", &args.grep),
        ] {
            conditions.extend(value.as_ref().map(|value| format!("{name}{value}")));
        }
        let conditions =
            if conditions.is_empty() { String::new() } else { format!(" [{}]", conditions.join(", ")) };
        let how = match (args.follow, last) {
            (true, _) => " (Ctrl+C to stop)".to_owned(),
            (false, Some(last)) => format!(" (last {last})"),
            (false, None) => String::new(),
        };
        format!("--- {what}{conditions}{how} ---\n")
    }

    fn list(&self, mut out: Output) -> Result<u8, HermesError> {
        let (now, mut text, mut failed) = (clock::system(), String::new(), false);
        let mut all = Vec::new();
        for home in self.homes() {
            let files = match logs::in_folder(&home) {
                Ok(files) => files,
                Err(error) => {
                    output::warn(&error.to_string());
                    failed = true;
                    continue;
                }
            };
            let _ =
                writeln!(text, "{}Log files in {}/:\n", if text.is_empty() { "" } else { "\n" }, home.logs());
            for file in files {
                let (count, bytes) = file.rotated;
                let older = match count {
                    0 => String::new(),
                    n => format!("  + {n} rotated, {}", size(bytes)),
                };
                let when = file.modified.map_or_else(String::new, |then| age(now, then));
                let _ = writeln!(text, "  {:<25} {:>8}   {when}{older}", file.name, size(file.len));
                all.push(serde_json::json!({
                    "file": home.logs().join(&file.name),
                    "bytes": file.len,
                    "modified": file.modified.and_then(|t| jiff::Timestamp::try_from(t).ok()).map(|t| t.to_string()),
                    "rotated": count,
                    "rotated_bytes": bytes,
                }));
            }
        }
        if self.args.json {
            text = format!("{:#}\n", serde_json::json!({"schema": 1, "files": all}));
        }
        out.write(&text)?;
        Ok(if failed { exit::FAILURE } else { exit::OK })
    }
}

/// Prints records, many at once.
struct Writer {
    out: Output,
    text: String,
    /// For objects.
    zone: Option<jiff::tz::TimeZone>,
    look: Look,
    records: u64,
}

impl Writer {
    fn take(&mut self, entry: &logs::Entry<'_>) -> io::Result<()> {
        self.records += 1;
        match &self.zone {
            Some(zone) => {
                self.text += &logs::json(entry, zone).to_string();
                self.text.push('\n');
            }
            None => logs::human(&mut self.text, entry, self.look),
        }
        if self.text.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            self.out.write(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }
}

/// Columns of the labels, where there are several. A log that is not there needs none.
fn label<'a>(places: impl IntoIterator<Item = &'a Place>) -> Option<usize> {
    let there = places.into_iter().filter(|place| place.path.as_std_path().exists());
    let labels: BTreeSet<&str> = there.map(|place| place.label.as_str()).collect();
    labels.iter().map(|label| label.len()).max().filter(|_| labels.len() > 1)
}

/// Whether nobody reads standard output any more: where nothing is written for long, nobody would notice.
fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.intersects(gone))
}

/// `1.6KB`, as 0.19.0 has it.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let kilo = bytes as f64 / 1024.0;
    if kilo < 1024.0 { format!("{kilo:.1}KB") } else { format!("{:.1}MB", kilo / 1024.0) }
}

/// `just now`, `5m ago`, `3h ago`, or the date.
fn age(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => jiff::Timestamp::try_from(then)
            .map(|then| then.to_zoned(zone::system()).strftime("%Y-%m-%d").to_string())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_read_as_before() {
        assert_eq!([size(12), size(1638), size(5 * 1024 * 1024)], ["12B", "1.6KB", "5.0MB"]);
        let now = clock::system();
        let ago = |seconds| age(now, now - Duration::from_secs(seconds));
        assert_eq!([ago(3), ago(300), ago(7300)], ["just now", "5m ago", "2h ago"]);
        assert_eq!(ago(900_000).len(), "2026-11-21".len());
        assert_eq!(age(now, now + Duration::from_secs(9)), "just now", "clocks differ");
    }
}
