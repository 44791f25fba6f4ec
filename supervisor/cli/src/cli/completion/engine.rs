//! What can stand at one place of a command line, decided from the command tree. Pure.
//!
//! The words before the cursor are read as the parser reads them: a command is entered only where no argument stands before, a
//! word behind an option that wants a value is that value, `--` ends options. What was given already and cannot be given twice
//! is not offered again.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, ValueHint};
use hermes_config::schema;
use hermes_worker::REGISTRY;

/// Longest description that is shown.
const HELP: usize = 72;

/// Names that only a home knows.
pub(super) trait Names {
    fn profiles(&self) -> Vec<String>;
    fn aliases(&self) -> Vec<String>;
}

/// One thing that can stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) value: String,
    pub(super) help: Option<String>,
}

/// What can stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    These(Vec<Candidate>),
    /// A path; the shell knows better how to ask for one.
    Files,
    Directories,
}

impl Answer {
    fn map(self, change: impl Fn(Candidate) -> Candidate) -> Self {
        match self {
            Self::These(all) => Self::These(all.into_iter().map(change).collect()),
            other => other,
        }
    }
}

/// A command line as far as the cursor.
#[derive(Debug)]
pub(super) struct Line {
    command: String,
    before: Vec<String>,
    current: String,
    /// What stands at the start of the current word and must not be repeated in a candidate: bash splits at `=`.
    joined: String,
    /// The command is an alias, which chooses the profile.
    pub(super) profile_is_chosen: bool,
}

impl Line {
    /// `split_at_equals`: as bash splits words, `--profile=cod` comes as three.
    pub(super) fn new(words: Vec<String>, index: Option<usize>, split_at_equals: bool) -> Self {
        let last = index.unwrap_or(words.len().saturating_sub(1));
        let sent = words.len() > last;
        let mut joined = String::new();
        let mut all: Vec<String> = Vec::new();
        for word in words.into_iter().take(last + 1) {
            joined.clear();
            let previous = all.last_mut().filter(|word| split_at_equals && word.starts_with('-'));
            match previous {
                Some(previous) if word == "=" && !previous.contains('=') => {
                    previous.push('=');
                    joined.clone_from(previous);
                }
                Some(previous) if previous.ends_with('=') => {
                    joined.clone_from(previous);
                    previous.push_str(&word);
                }
                _ => all.push(word),
            }
        }
        // The cursor is on a word that the shell did not send.
        if !sent {
            joined.clear();
            all.push(String::new());
        }
        let current = if all.len() > 1 { all.pop() } else { None }.unwrap_or_default();
        let current = current.trim_start_matches(['"', '\'']).to_owned();
        let mut all = all.into_iter();
        Self {
            command: all.next().unwrap_or_default(),
            before: all.collect(),
            current,
            joined,
            profile_is_chosen: false,
        }
    }

    /// The first word.
    pub(super) fn command(&self) -> &str {
        &self.command
    }
}

/// Where the parser is.
pub(in crate::cli) struct At<'t> {
    command: &'t Command,
    /// Names of the commands entered.
    path: Vec<&'t str>,
    /// Positional arguments so far.
    positionals: usize,
    /// The option whose value comes next.
    awaited: Option<&'t Arg>,
    /// Behind `--`.
    escaped: bool,
    /// Options that were given.
    given: Vec<&'t str>,
}

/// What can stand under the cursor. `tree` is built.
pub(super) fn complete(tree: &Command, line: &Line, names: &dyn Names) -> Answer {
    let mut at = At::start(tree);
    if line.profile_is_chosen {
        at.given.push("profile");
    }
    for word in &line.before {
        at.read(word);
    }
    let joined = &line.joined;
    at.offer(&line.current, names).map(|candidate| Candidate {
        value: candidate.value.strip_prefix(joined.as_str()).map(str::to_owned).unwrap_or(candidate.value),
        help: candidate.help,
    })
}

impl<'t> At<'t> {
    /// Behind the first word. `tree` is built.
    pub(in crate::cli) fn start(tree: &'t Command) -> Self {
        Self {
            command: tree,
            path: Vec::new(),
            positionals: 0,
            awaited: None,
            escaped: false,
            given: Vec::new(),
        }
    }

    /// Reads the next word; whether the parser takes it as a value, whatever it looks like.
    pub(in crate::cli) fn read_value(&mut self, word: &str) -> bool {
        let hyphen = word.len() > 1 && word.starts_with('-');
        let value = match self.awaited {
            // An option that wants a value and gets an option: the parser complains.
            Some(arg) => !hyphen || arg.is_allow_hyphen_values_set(),
            None => hyphen && word != "--" && !self.escaped && self.hyphen_value_expected(),
        };
        self.read(word);
        // Whoever asks takes the flag and its value out.
        self.awaited = self.awaited.filter(|arg| value || arg.get_id() != "profile");
        value
    }

    fn read(&mut self, word: &str) {
        if self.awaited.take().is_some() {
            return;
        }
        if self.escaped {
            self.positionals += 1;
        } else if word == "--" {
            self.escaped = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let Some(arg) = self.long(name) else { return };
            self.given.push(arg.get_id().as_str());
            self.awaited = Some(arg).filter(|arg| takes_value(arg) && value.is_none());
        } else if word.len() > 1 && word.starts_with('-') && !self.hyphen_value_expected() {
            for (at, letter) in word.char_indices().skip(1) {
                let Some(arg) = self.short(letter) else { return };
                self.given.push(arg.get_id().as_str());
                if takes_value(arg) {
                    let rest = &word[at + letter.len_utf8()..];
                    self.awaited = Some(arg).filter(|_| rest.is_empty());
                    return;
                }
            }
        } else if let Some(command) = self.subcommand(word) {
            self.command = command;
            self.path.push(command.get_name());
        } else {
            self.positionals += 1;
        }
    }

    fn offer(&self, current: &str, names: &dyn Names) -> Answer {
        if let Some(arg) = self.awaited {
            return self.values(arg, current, names);
        }
        if !self.escaped && current.starts_with('-') {
            return self.options(current, names);
        }
        let mut these = Vec::new();
        if self.positionals == 0 && !self.escaped {
            let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
            these.extend(
                commands
                    .filter(|command| command.get_name().starts_with(current))
                    .map(|command| candidate(command.get_name(), command.get_about())),
            );
        }
        match self.positional().map(|arg| self.values(arg, current, names)) {
            Some(Answer::These(values)) => these.extend(values),
            Some(paths) if these.is_empty() => return paths,
            _ => {}
        }
        if these.is_empty() && current.is_empty() && !self.escaped {
            return self.options("--", names);
        }
        Answer::These(these)
    }

    /// Options that begin like this, or the value that is attached to one.
    fn options(&self, current: &str, names: &dyn Names) -> Answer {
        if let Some((option, value)) = current.split_once('=')
            && let Some(arg) = self.option(option)
        {
            return attached(&format!("{option}="), self.values(arg, value, names));
        }
        if let Some(arg) = current.chars().nth(1).and_then(|letter| self.short(letter))
            && !current.starts_with("--")
            && current.len() > 2
            && takes_value(arg)
        {
            return attached(&current[..2], self.values(arg, &current[2..], names));
        }
        let offered = |arg: &&Arg| {
            let again = matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
            let given = self.given.contains(&arg.get_id().as_str());
            !arg.is_hide_set() && !arg.is_positional() && (again || !given)
        };
        let args: Vec<&Arg> = self.command.get_arguments().filter(offered).collect();
        let longs =
            args.iter().filter_map(|arg| Some(candidate(&format!("--{}", arg.get_long()?), arg.get_help())));
        let shorts =
            args.iter().filter_map(|arg| Some(candidate(&format!("-{}", arg.get_short()?), arg.get_help())));
        Answer::These(longs.chain(shorts).filter(|c| c.value.starts_with(current)).collect())
    }

    fn values(&self, arg: &Arg, current: &str, names: &dyn Names) -> Answer {
        let listed = match kind(&self.path, arg.get_id().as_str()) {
            Some(Kind::Profile) => Some(names.profiles()),
            Some(Kind::Alias) => Some(names.aliases()),
            Some(Kind::Key) => return Answer::These(keys(current)),
            None => None,
        };
        let these = if let Some(listed) = listed {
            listed.into_iter().map(|value| Candidate { value, help: None }).collect()
        } else {
            let possible = arg.get_possible_values();
            if possible.is_empty() {
                match arg.get_value_hint() {
                    ValueHint::AnyPath | ValueHint::FilePath | ValueHint::ExecutablePath => {
                        return Answer::Files;
                    }
                    ValueHint::DirPath => return Answer::Directories,
                    _ => {}
                }
            }
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            shown.map(|v| candidate(v.get_name(), v.get_help())).collect::<Vec<_>>()
        };
        Answer::These(these.into_iter().filter(|c| c.value.starts_with(current)).collect())
    }

    fn subcommand(&self, word: &str) -> Option<&'t Command> {
        (self.positionals == 0).then(|| self.command.find_subcommand(word)).flatten()
    }

    /// The positional argument that comes next; the last one may take several words.
    fn positional(&self) -> Option<&'t Arg> {
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let several = |arg: &&&Arg| arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        all.get(self.positionals).or_else(|| all.last().filter(several)).copied()
    }

    fn hyphen_value_expected(&self) -> bool {
        self.positional().is_some_and(Arg::is_allow_hyphen_values_set)
    }

    fn option(&self, text: &str) -> Option<&'t Arg> {
        match text.strip_prefix("--") {
            Some(long) => self.long(long),
            None => text.chars().nth(1).filter(|_| text.chars().count() == 2).and_then(|c| self.short(c)),
        }
    }

    fn long(&self, name: &str) -> Option<&'t Arg> {
        let mut all = self.command.get_arguments();
        all.find(|arg| arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name)))
    }

    fn short(&self, letter: char) -> Option<&'t Arg> {
        let mut all = self.command.get_arguments();
        all.find(|arg| arg.get_short_and_visible_aliases().is_some_and(|names| names.contains(&letter)))
    }
}

/// Keys that this program reads, by the table of keys; those with a free name in them cannot be listed.
fn keys(current: &str) -> Vec<Candidate> {
    let all = schema::groups(&REGISTRY).into_iter().flat_map(|group| group.keys);
    let listed = all.filter(|key| {
        key.path.starts_with(current) && !key.path.contains('*') && key.kind != schema::Kind::Section
    });
    listed
        .map(|key| Candidate { value: key.path.to_owned(), help: key.about.lines().next().map(short) })
        .collect()
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() > 0)
}

fn candidate(value: &str, help: Option<&StyledStr>) -> Candidate {
    let help = help.map(ToString::to_string);
    let line = help.as_deref().and_then(|text| text.lines().next()).filter(|line| !line.is_empty());
    Candidate { value: value.to_owned(), help: line.map(short) }
}

/// Cut between two words where it is too long.
fn short(line: &str) -> String {
    let Some((end, _)) = line.char_indices().nth(HELP) else { return line.to_owned() };
    let end = line[..end].rfind(' ').unwrap_or(end);
    format!("{} …", &line[..end])
}

fn attached(prefix: &str, answer: Answer) -> Answer {
    answer.map(|candidate| Candidate { value: format!("{prefix}{}", candidate.value), ..candidate })
}

/// Names that an argument wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Profile,
    Alias,
    /// A key of `config.yaml`.
    Key,
}

/// Which arguments want names, by the commands before them.
const WANTED: [(&[&str], &str, Kind); 21] = [
    (&[], "profile", Kind::Profile),
    (&["status"], "name", Kind::Profile),
    (&["doctor"], "name", Kind::Profile),
    (&["gateway", "run"], "name", Kind::Profile),
    (&["gateway", "start"], "name", Kind::Profile),
    (&["gateway", "stop"], "name", Kind::Profile),
    (&["gateway", "restart"], "name", Kind::Profile),
    (&["gateway", "status"], "name", Kind::Profile),
    (&["gateway", "check"], "name", Kind::Profile),
    (&["profile", "create"], "clone_from", Kind::Profile),
    (&["profile", "show"], "name", Kind::Profile),
    (&["profile", "use"], "name", Kind::Profile),
    (&["profile", "alias"], "name", Kind::Profile),
    (&["profile", "alias"], "alias", Kind::Alias),
    (&["profile", "rename"], "old", Kind::Profile),
    (&["profile", "delete"], "name", Kind::Profile),
    (&["profile", "export"], "name", Kind::Profile),
    (&["profile", "describe"], "name", Kind::Profile),
    (&["config", "get"], "key", Kind::Key),
    (&["config", "set"], "key", Kind::Key),
    (&["config", "unset"], "key", Kind::Key),
];

fn kind(path: &[&str], id: &str) -> Option<Kind> {
    let matches = |(commands, arg, _): &&(&[&str], &str, Kind)| {
        // The global option is everywhere, except where an argument of the same name is something else.
        *arg == id && (*commands == path || (commands.is_empty() && *path != ["profile", "import"]))
    };
    WANTED.iter().find(matches).map(|(_, _, kind)| *kind)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
