//! `/personality`: which personalities there are, another one, or none, for all chats of the profile.
//!
//! The choice stands in `config.yaml`, where the program looks for it that has written the file: 0.19.0 for the text in
//! `agent.system_prompt`, newer ones for the name in `display.personality`. A text in `agent.system_prompt` that is no personality's is
//! somebody's own; before another takes its place, it becomes a personality itself.

use std::fmt::Write as _;

use hermes_config::document::Document;
use hermes_config::path::KeyPath;
use hermes_config::personality::{Meant, Personalities};
use hermes_config::platform::Registry;
use hermes_config::{Env, MAX_FILE_LEN, edit};
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;

use super::home_channel;

/// The key that holds a text.
const TEXT: &str = "agent.system_prompt";
/// The variable that stands above it.
const FIXED: &str = "HERMES_EPHEMERAL_SYSTEM_PROMPT";
/// What a text of somebody's own becomes.
const OWN: &str = "own";
/// What is read here is no platform's.
static NO_PLATFORMS: Registry = Registry::new(&[]);

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// To be told which there are.
    List,
    /// This one; none: none.
    Choice(Option<(&'a str, &'a str)>),
}

/// What stands behind the command. The error is for people.
pub(super) fn parse<'a>(all: &'a Personalities, rest: &str) -> Result<Wanted<'a>, String> {
    let word = rest.trim();
    if word.is_empty() {
        return Ok(Wanted::List);
    }
    if all.fixed.is_some() {
        return Err(format!(
            "What the model is told here stands in the variable {FIXED}, which comes first."
        ));
    }
    match all.meant(word) {
        Meant::Nothing => Ok(Wanted::Choice(None)),
        Meant::This(name, text) => Ok(Wanted::Choice(Some((name, text)))),
        Meant::Unknown => {
            let names: Vec<String> = all.all().iter().map(|(name, _)| format!("`{name}`")).collect();
            let word: String = word.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(format!("There is no personality `{word}`.\n\nThere are: `none`, {}", names.join(", ")))
        }
    }
}

/// Which there are; `told`: what is told now.
pub(super) fn list(all: &Personalities, told: Option<&str>) -> String {
    let now = told.and_then(|text| all.of_text(text));
    let mut text = "🎭 Personalities\n".to_owned();
    let mut line = |name: &str, about: &str, is_now: bool| {
        let mark = if is_now { " ← now" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n• `{name}` - {about}{mark}");
    };
    line("none", "as the profile is by itself", told.is_none());
    for (name, about) in all.all() {
        line(name, &about, now == Some(name));
    }
    if told.is_some() && now.is_none() {
        let _ = write!(text, "\n\nNow it is told what stands in `{TEXT}`, which is none of them.");
    }
    text.push_str("\n\n/personality NAME chooses one, for all chats of this profile.");
    text
}

/// What is said of a choice.
pub(super) fn said(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("🎭 Personality: {name}, from the next message on."),
        None => "🎭 No personality: the profile is as it is by itself, from the next message on.".to_owned(),
    }
}

/// Writes a choice into `config.yaml`. The worker is replaced then. The error is for people.
pub(super) fn write(
    home: &ProfileHome,
    all: &Personalities,
    choice: Option<(&str, &str)>,
) -> Result<(), String> {
    let file = home.config();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("`{file}` cannot be {what}: {error}");
    let _lock = home_channel::lock(home).map_err(|error| failed("locked", &error))?;
    let bytes =
        disk::read_bounded(&file, MAX_FILE_LEN).or_absent().map_err(|error| failed("read", &error))?;
    let text = String::from_utf8(bytes.unwrap_or_default()).map_err(|error| failed("read", &error))?;
    let new = edited(&text, all, choice).map_err(|error| failed("changed", &error))?;
    if new == text {
        return Ok(());
    }
    disk::replace(&file, new.as_bytes()).map_err(|error| failed("written", &error))
}

/// The file's text with a choice in it.
fn edited(text: &str, all: &Personalities, choice: Option<(&str, &str)>) -> Result<String, String> {
    let set = |text: &str, path: &[&str], value: &str| {
        let edited = edit::set(text, path, &edit::Value::from(value)).map_err(|error| error.to_string())?;
        Ok::<_, String>(edited.text)
    };
    if all.by_name {
        return set(text, &["display", "personality"], choice.map_or("", |(name, _)| name));
    }
    let before = own_text(text)?;
    if choice.is_none() && before.is_none() {
        return Ok(text.to_owned());
    }
    let mut new = text.to_owned();
    if let Some(own) = before.filter(|own| all.of_text(own).is_none()) {
        let names = (1..).map(|n| if n == 1 { OWN.to_owned() } else { format!("{OWN}-{n}") });
        let free = names.take(100).find(|name| all.meant(name) == Meant::Unknown);
        let name = free.ok_or_else(|| format!("no name is free for the text in `{TEXT}`"))?;
        new = set(&new, &["agent", "personalities", &name], &own)?;
    }
    set(&new, &["agent", "system_prompt"], choice.map_or("", |(_, text)| text))
}

/// The text that stands in the file.
fn own_text(text: &str) -> Result<Option<String>, String> {
    let document = Document::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let path = KeyPath::parse(TEXT).map_err(|error| error.to_string())?;
    let value = document.get(&NO_PLATFORMS, &path, &Env::default());
    let lines: Vec<String> = match value {
        Some(serde_json::Value::Array(lines)) => {
            lines.iter().filter_map(|line| line.as_str()).map(|line| line.trim().to_owned()).collect()
        }
        Some(serde_json::Value::String(text)) => vec![text.trim().to_owned()],
        _ => Vec::new(),
    };
    Ok(Some(lines.join("\n")).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use hermes_config::personality::Personality;

    use super::*;

    fn all() -> Personalities {
        let zen =
            Personality { name: "zen".into(), about: Some("calm".into()), text: "Be calm.\nBe slow.".into() };
        Personalities { own: vec![zen], ..Personalities::default() }
    }

    fn chosen(text: &str, all: &Personalities, word: &str) -> String {
        let Ok(Wanted::Choice(choice)) = parse(all, word) else { panic!("{word}") };
        edited(text, all, choice).unwrap()
    }

    #[test]
    fn one_is_meant_as_people_write_it() {
        let mut all = all();
        assert_eq!(parse(&all, " "), Ok(Wanted::List));
        assert_eq!(parse(&all, "ZEN "), Ok(Wanted::Choice(Some(("zen", "Be calm.\nBe slow.")))));
        assert_eq!(parse(&all, "none"), Ok(Wanted::Choice(None)));
        let unknown = parse(&all, "zoo").unwrap_err();
        assert!(unknown.contains("`zoo`") && unknown.contains("`zen`"), "{unknown}");
        let said = list(&all, Some("Be calm.\nBe slow."));
        assert!(said.contains("`zen` - calm ← now") && said.contains("• `none` - as"), "{said}");
        assert!(list(&all, Some("Something else.")).contains("none of them"));
        all.fixed = Some("x".to_owned());
        assert!(parse(&all, "zen").unwrap_err().contains(FIXED));
    }

    #[test]
    fn a_choice_stands_as_a_text_for_0_19_0_and_is_taken_back() {
        let before = "# mine\nagent: {engine: echo} # here\n";
        let new = chosen(before, &all(), "zen");
        assert!(new.starts_with("# mine\n") && new.contains("engine: echo"), "{new}");
        assert_eq!(own_text(&new).unwrap().as_deref(), Some("Be calm.\nBe slow."));
        let none = chosen(&new, &all(), "none");
        assert_eq!(own_text(&none).unwrap(), None);
        assert!(!none.contains("personalities"), "what was a personality is not kept: {none}");
        assert_eq!(chosen(before, &all(), "none"), before, "nothing is taken back");
        assert_eq!(own_text(&chosen("", &all(), "pirate")).unwrap().as_deref(), Some(&*text_of("pirate")));
    }

    fn text_of(name: &str) -> String {
        match all().meant(name) {
            Meant::This(_, text) => text.to_owned(),
            _ => panic!("{name}"),
        }
    }

    #[test]
    fn a_text_of_somebodys_own_becomes_a_personality() {
        let new = chosen("agent:\n  system_prompt: |\n    Mine.\n    All mine.\n", &all(), "zen");
        let document = Document::parse(new.as_bytes()).unwrap();
        let kept =
            document.get(&NO_PLATFORMS, &KeyPath::parse("agent.personalities.own").unwrap(), &Env::default());
        assert_eq!(kept, Some("Mine.\nAll mine.".into()), "{new}");
    }

    #[test]
    fn a_newer_file_keeps_the_name_and_its_own_text() {
        let all = Personalities { by_name: true, ..all() };
        let new = chosen("_config_version: 40\nagent: {system_prompt: Mine.}\n", &all, "zen");
        assert!(new.contains("personality: zen") && new.contains("system_prompt: Mine."), "{new}");
        assert!(!chosen(&new, &all, "none").contains("zen"));
    }
}
