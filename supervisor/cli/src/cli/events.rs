//! `hermes events`: what has happened to the gateway and its profiles, and who wanted it.

use std::time::Duration;

use clap::{Args, ValueHint};
use hermes_host::zone;
use hermes_wire::contract::events::Event;
use hermes_wire::exit;

use super::Call;
use super::interrupt::Interrupt;
use super::logs::time;
use super::output::{self, Output};
use crate::error::HermesError;
use crate::events::{self, Filter, Following, Found};
use crate::home::{Chosen, Selection};
use crate::logs::{self, End};

/// Time between two looks of `--follow`.
const EVERY: Duration = Duration::from_millis(200);
/// What is shown where nothing else is asked for.
const USUAL: usize = 50;

/// Arguments of `hermes events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Read from `logs/events.jsonl`, whether or not a gateway runs. Who wanted a change stands in brackets: a command \
    with its process and user, a signal, changed files.\n\n\
    Examples:\n  hermes events\n  hermes events coder -n 5\n  hermes events -f\n  \
    hermes events --since 1h --json | jq 'select(.what == \"exit\")'"
)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    pub(super) whose: super::OneOfAll,
    /// Go on until Ctrl-C, and show what happens.
    #[arg(short, long)]
    follow: bool,
    /// So many of the newest [default: 50; with --since all].
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Not older than this: 1h, 30m, 2d, or a time.
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, allow_hyphen_values = true)]
    since: Option<String>,
    /// Not newer than this.
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, allow_hyphen_values = true)]
    until: Option<String>,
    /// For programs: one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Shows what is asked for.
pub(super) fn run(args: &EventsArgs, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select()?;
    let only = matches!(selection.chosen, Chosen::Flag | Chosen::Home).then(|| selection.profile.clone());
    let filter = Filter {
        profile: only.as_ref().map(ToString::to_string),
        since: time("--since", args.since.as_deref(), End::Since, logs::moment)?,
        until: time("--until", args.until.as_deref(), End::Until, logs::moment)?,
    };
    let journals = journals(&selection);
    let most = args.lines.or_else(|| args.since.is_none().then_some(USUAL));
    let mut found = events::newest(&journals, &filter, most);
    for (path, error) in &found.unread {
        output::warn(&format!("`{path}` cannot be read: {error}"));
    }
    let mut shown = Shown { json: args.json, color: call.env.colors(), names: 0 };
    shown.all(&found.events, &mut out)?;
    if found.odd > 0 {
        output::note(&format!("{} lines that are no events were left out", found.odd));
    }
    if !args.follow {
        if found.events.is_empty() && found.unread.is_empty() && !args.json {
            output::note(&nothing(&selection, &filter));
        }
        let failed = !found.unread.is_empty();
        return Ok(if failed { exit::FAILURE } else { exit::OK });
    }
    let interrupt = Interrupt::new();
    let mut following = follow(journals, &mut found);
    loop {
        if interrupt.came_within(EVERY) {
            return Ok(exit::OK);
        }
        for journal in &mut following {
            // What cannot be read now may be later.
            let news = journal.news(&filter).unwrap_or_default();
            shown.all(&news, &mut out)?;
        }
    }
}

/// The journals that can tell of a selection: of the root home's gateway, and of the profile's own.
pub(super) fn journals(selection: &Selection) -> Vec<camino::Utf8PathBuf> {
    let root = selection.root.profile(&hermes_wire::ProfileName::default_profile()).events();
    let own = selection.home().events();
    if own == root { vec![root] } else { vec![root, own] }
}

fn follow(journals: Vec<camino::Utf8PathBuf>, found: &mut Found) -> Vec<Following> {
    let ends = std::mem::take(&mut found.ends);
    journals.into_iter().zip(ends).map(|(path, end)| Following::new(path, end)).collect()
}

fn nothing(selection: &Selection, filter: &Filter) -> String {
    let since = if filter.since.is_some() { " since then" } else { "" };
    match &filter.profile {
        Some(name) => format!("nothing is written down of profile '{name}'{since}"),
        None => format!(
            "nothing is written down{since}: a gateway of this release does that, in `{}`",
            selection.root.profile(&hermes_wire::ProfileName::default_profile()).events()
        ),
    }
}

struct Shown {
    json: bool,
    color: bool,
    /// Columns of the longest name so far.
    names: usize,
}

impl Shown {
    fn all(&mut self, events: &[Event], out: &mut Output) -> std::io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let zone = zone::system();
        let longest = events.iter().map(|event| event.profile.as_deref().unwrap_or("(gateway)").len()).max();
        self.names = self.names.max(longest.unwrap_or(0).min(24));
        let mut text = String::new();
        for event in events {
            if self.json {
                text += &serde_json::to_string(event).expect("strings and integers always serialise");
            } else {
                text += &events::human(event, &zone, self.names, self.color);
            }
            text.push('\n');
        }
        out.write(&text)
    }
}
