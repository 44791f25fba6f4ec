//! The table of commands, and how one is read.

use crate::inbound::Busy;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It is answered at once.
    Answer,
    /// It is noted, and nothing is said.
    Silence,
    /// It has a turn of its own in its session.
    Turn,
    /// The same, and ends the one that runs.
    Interrupt,
    /// The same, where nothing runs.
    Idle,
    /// What stands behind it is a message that does this to the turn that runs.
    Message(Busy),
}

/// A command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Other names.
    also: &'static [&'static str],
    /// What may stand behind it.
    pub(super) arguments: &'static str,
    /// What it does, for people.
    pub(super) about: &'static str,
    pub(super) act: Act,
    /// It is in menus.
    shown: bool,
}

const fn command(name: &'static str, about: &'static str, act: Act) -> Command {
    Command { name, also: &[], arguments: "", about, act, shown: true }
}

impl Command {
    const fn with(self, arguments: &'static str) -> Self {
        Self { arguments, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    const fn hidden(self) -> Self {
        Self { shown: false, ..self }
    }
}

/// All of them, in the order of menus.
pub(super) const ALL: &[Command] = &[
    command("new", "begin a new conversation", Act::Interrupt).also(&["reset"]),
    command("stop", "stop what runs", Act::Answer),
    command("status", "what runs here, and which conversation this is", Act::Answer),
    command("model", "which model answers; another one for this conversation", Act::Answer)
        .with("[name] [--provider name] [--global]"),
    command("retry", "ask the last question again", Act::Idle),
    command("undo", "take the last question and its answer back", Act::Idle),
    command("queue", "a message that waits for its own turn", Act::Message(Busy::Queue))
        .with("<text>")
        .also(&["q"]),
    command("steer", "a message into what runs, behind the next tool call", Act::Message(Busy::Steer))
        .with("<text>"),
    command("approve", "allow what was asked for", Act::Turn).with("[session|always]"),
    command("deny", "refuse what was asked for", Act::Turn).with("[why]"),
    command("compress", "make the conversation shorter", Act::Turn).with("[what matters]").also(&["compact"]),
    command("title", "what this conversation is called", Act::Answer).with("[words]"),
    command("sessions", "the conversations of this chat", Act::Answer),
    command("resume", "go on in another conversation of this chat", Act::Answer).with("[number|title|id]"),
    command("usage", "what this conversation has used", Act::Answer),
    command("yolo", "ask nobody in this conversation before what is dangerous, or ask again", Act::Answer),
    command("personality", "who answers in this profile's chats: a personality, or none", Act::Answer)
        .with("[name|none]"),
    command("sethome", "this chat is where messages without a place go", Act::Answer).also(&["set-home"]),
    command("whoami", "who you are here, and what you may do", Act::Answer),
    command("platform", "the connections, and pauses of them", Act::Answer)
        .with("[list|pause|resume] [name]"),
    command("reload-skills", "look at the skills again", Act::Answer),
    command("reload-mcp", "start the tool servers again", Act::Answer),
    command("restart", "start this profile's worker again", Act::Answer),
    command("profile", "which profile this is", Act::Answer),
    command("version", "which release this is", Act::Answer).also(&["v"]),
    command("commands", "all commands, with those of skills", Act::Answer),
    command("help", "what there is", Act::Answer),
    command("start", "", Act::Silence).hidden(),
];

/// What 0.19.0 knows besides, in its spellings.
const ABSENT: &[&str] = &[
    "agents",
    "background",
    "bg",
    "blueprint",
    "bp",
    "branch",
    "btw",
    "bundles",
    "codex-runtime",
    "curator",
    "debug",
    "fast",
    "footer",
    "fork",
    "goal",
    "insights",
    "kanban",
    "learn",
    "memory",
    "moa",
    "reasoning",
    "rollback",
    "subgoal",
    "suggest",
    "suggestions",
    "tasks",
    "topic",
    "topup",
    "update",
    "voice",
];

/// Whether it is a command of 0.19.0 that is not here.
pub(super) fn is_absent(name: &str) -> bool {
    ABSENT.contains(&name)
}

/// What somebody says in a private chat who wants the gateway to start again, as people say it.
pub(super) fn says_restart(text: &str) -> bool {
    let words: Vec<String> = text
        .trim()
        .trim_end_matches(['.', '!', '?', ' '])
        .split_whitespace()
        .map(|word| word.trim_end_matches(',').to_lowercase())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "please").collect();
    matches!(
        words.as_slice(),
        ["restart", "gateway" | "hermes"]
            | ["restart", "the" | "hermes", "gateway"]
            | ["restart", "the", "hermes", "gateway"]
    )
}

/// The command of a name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.name == name || command.also.contains(&name))
}

/// Whether a word is the name of a command.
pub fn is_command(name: &str) -> bool {
    find(&name.to_lowercase().replace('_', "-")).is_some()
}

/// Commands for the menu of a platform: name and description.
pub fn menu() -> impl Iterator<Item = (&'static str, &'static str)> {
    shown().map(|command| (command.name, command.about))
}

/// The same, with what may stand behind each: `<text>` must, `[text]` may; nothing: nothing.
pub fn offered() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    shown().map(|command| (command.name, command.about, command.arguments))
}

/// Those that people are told of.
pub(super) fn shown() -> impl Iterator<Item = &'static Command> {
    ALL.iter().filter(|command| command.shown)
}

/// What nobody is kept from: to ask what he may, and to begin.
pub(super) fn is_always_allowed(name: &str) -> bool {
    matches!(name, "help" | "whoami" | "start")
}

/// A message that calls something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// In lower case, without the name of a bot.
    pub(super) name: String,
    /// What stands behind it.
    pub(super) rest: String,
}

/// Reads a message as a command; `None`: it is none. `other_sign`: `!name` is one too.
pub(super) fn called(text: &str, other_sign: bool) -> Option<Called> {
    let text = text.trim();
    let inner = text.strip_prefix('/').or_else(|| text.strip_prefix('!').filter(|_| other_sign))?;
    let end = inner.find(char::is_whitespace).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let name = name.split('@').next().unwrap_or_default().to_lowercase().replace('_', "-");
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '+' | '.');
    // `/usr/bin` is a path.
    if !name.starts_with(char::is_alphanumeric)
        || !name.chars().all(is_name)
        || end > 64
        || inner[..end].contains('/')
    {
        return None;
    }
    Some(Called { name, rest: rest.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    //! What is read as a command.

    use super::*;

    #[test]
    fn names_are_there_once_and_fit_into_menus() {
        let mut names: Vec<_> = ALL
            .iter()
            .flat_map(|command| [command.name].into_iter().chain(command.also.iter().copied()))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (name, about) in menu() {
            // As Telegram wants them, where a line stands below.
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && name.len() <= 32, "{name}");
            assert!(!about.is_empty() && about.len() <= 256, "{name}");
        }
    }

    #[test]
    fn what_is_not_here_is_no_command_and_a_restart_is_asked_for_in_words() {
        assert!(ABSENT.iter().all(|name| find(name).is_none()) && is_absent("goal") && !is_absent("new"));
        for text in [
            "restart gateway",
            "Restart the gateway, please!",
            "please restart hermes",
            "restart the Hermes gateway.",
        ] {
            assert!(says_restart(text), "{text}");
        }
        for text in ["restart", "restart the gateway now", "how do I restart gateway", "/restart gateway", ""]
        {
            assert!(!says_restart(text), "{text}");
        }
    }

    #[test]
    fn a_command_is_read_as_people_write_it() {
        let read = |text, sign| called(text, sign).map(|called| (called.name, called.rest));
        let some = |name: &str, rest: &str| Some((name.to_owned(), rest.to_owned()));
        assert_eq!(read(" /New ", false), some("new", ""));
        assert_eq!(read("/queue@my_bot  do\nit", false), some("queue", "do\nit"));
        assert_eq!(read("!stop", true), some("stop", ""));
        assert_eq!(read("/set_home", false), some("set-home", ""));
        for text in ["/usr/bin is full", "/", "// x", "say /new", "!stop", "/ new", "/(x)"] {
            assert_eq!(read(text, false), None, "{text}");
        }
    }
}
