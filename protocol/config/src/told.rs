//! What shapes what the model is told: hints of platforms, and personalities.

use super::personality::{Personalities, Personality, is_name};
use super::reader::{At, Reader};
use super::scalar::whole;
use super::types::PromptSettings;
use super::yaml::Value;

/// Over all that is told behind the prompt.
const FIXED: &str = "HERMES_EPHEMERAL_SYSTEM_PROMPT";
/// First `_config_version` of programs that keep a personality by its name.
const BY_NAME: i64 = 34;

pub(super) fn read(reader: &mut Reader<'_>, root: &At) -> PromptSettings {
    let mut settings = PromptSettings::default();
    let hints = root.key("platform_hints");
    reader.expect_map(&hints);
    for (platform, at) in hints.entries() {
        let append = if at.is_map() { at.key("append") } else { at.clone() };
        if let Some(text) = reader.text(&append) {
            settings.append_hints.insert(platform.clone(), text);
        }
        if let Some(text) = reader.text(&at.key("replace")) {
            settings.replace_hints.insert(platform, text);
        }
    }
    if let Some(probe) = reader.flag(&root.key("agent.environment_probe")) {
        settings.environment_probe = probe;
    }
    settings.personalities = personalities(reader, root);
    settings.context_file_max_chars = reader.number(&root.key("context_file_max_chars"), 1..=100_000_000);
    settings
}

fn personalities(reader: &mut Reader<'_>, root: &At) -> Personalities {
    let mut own: Vec<Personality> = Vec::new();
    // The first of a name counts.
    for section in [root.key("agent").key("personalities"), root.key("personalities")] {
        reader.expect_map(&section);
        for (name, at) in section.entries() {
            let name = name.trim().to_lowercase();
            if !is_name(&name) || own.iter().any(|one| one.name == name) {
                continue;
            }
            let about = if at.is_map() { text(reader, &at.key("description")) } else { None };
            if let Some(text) = personality(reader, &at) {
                own.push(Personality { name, about, text });
            }
        }
    }
    let by_name = is_by_name(reader, root);
    Personalities {
        own,
        text: text(reader, &root.key("agent").key("system_prompt")),
        // Before, it was of the terminal's looks alone.
        name: if by_name { text(reader, &root.key("display").key("personality")) } else { None },
        by_name,
        fixed: reader.env(FIXED).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// What one tells the model; none: nothing.
fn personality(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    if !at.is_map() {
        return text(reader, at);
    }
    let parts = [("system_prompt", ""), ("tone", "Tone: "), ("style", "Style: ")];
    let parts = parts.map(|(key, before)| Some(format!("{before}{}", text(reader, &at.key(key))?)));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// A text as it stands, or the lines of a list. Nothing is put into it: it is written back.
fn text(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    let lines: Vec<String> = if at.is_seq() {
        at.items().iter().filter_map(|item| text(reader, item)).collect()
    } else {
        match at.node().map(|node| &node.value)? {
            Value::Scalar { text, .. } => vec![text.trim().to_owned()],
            Value::Seq(_) | Value::Map(_) => {
                reader.wrong_type(at, "text");
                return None;
            }
        }
    };
    let text = lines.join("\n");
    (!text.is_empty()).then_some(text)
}

fn is_by_name(reader: &mut Reader<'_>, root: &At) -> bool {
    let at = root.key("_config_version");
    let version = if at.is_map() || at.is_seq() { None } else { reader.text(&at) };
    version.as_deref().and_then(whole).is_some_and(|version| version >= BY_NAME)
}

#[cfg(test)]
mod tests {
    use hermes_wire::ProfileName;
    use hermes_wire::RootHome;
    use hermes_wire::latest::Role;

    use super::*;
    use crate::{Input, load};

    fn told(yaml: &str, env: &str) -> Personalities {
        let profile = ProfileName::default_profile();
        let home = RootHome::new("/r").profile(&profile);
        let loaded = load(Input {
            registry: &crate::REGISTRY,
            profile: &profile,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
            home: &home,
            yaml: Some(yaml.as_bytes()),
            env: Some(env.as_bytes()),
        });
        loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems)).prompt.personalities
    }

    #[test]
    fn personalities_are_read_in_every_shape() {
        let yaml = "agent:\n  personalities:\n    Zen: ' Be ${CALM}. '\n    bard: {description: sings, system_prompt: Sing., tone: gay, \
                    style: old}\n    lines: [One., Two.]\n    none: x\n    empty:\npersonalities: {zen: later, top: Top.}\n";
        let all = told(yaml, "CALM=calm\n");
        let texts: Vec<_> = all.own.iter().map(|one| (one.name.as_str(), one.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("zen", "Be ${CALM}."),
                ("bard", "Sing.\nTone: gay\nStyle: old"),
                ("lines", "One.\nTwo."),
                ("top", "Top.")
            ]
        );
        assert_eq!(all.own[1].about.as_deref(), Some("sings"));
    }

    /// Up to 0.19.0 the name was of the terminal's looks, and old files hold one that nobody chose.
    #[test]
    fn a_name_counts_where_a_newer_program_wrote_the_file() {
        let yaml = "display: {personality: pirate}\nagent: {system_prompt: Be brief.}\n";
        let old = told(yaml, "");
        assert_eq!((old.told(), old.by_name), (Some("Be brief."), false));
        assert_eq!(told(&format!("_config_version: 33\n{yaml}"), "").told(), Some("Be brief."));
        let new = told(&format!("_config_version: 34\n{yaml}"), "");
        assert_eq!((new.chosen(), new.by_name), (Some("pirate"), true));
        let fixed = told(yaml, "HERMES_EPHEMERAL_SYSTEM_PROMPT=Be loud.\n");
        assert_eq!(fixed.told(), Some("Be loud."));
    }
}
