//! What platforms' sections say of single chats, read from the files.

use super::Blocks;
use crate::chats::{AllChats, ChatOverride, ChatSettings};
use crate::platform::Declaration;
use crate::reader::{At, Reader};

/// Those of every platform with a bot: a profile may answer what another one's bot received.
pub(crate) fn read(reader: &mut Reader<'_>, root: &At) -> AllChats {
    let all =
        reader.registry.all().filter(|platform| platform.listener.is_none() && !platform.prefix.is_empty());
    let mut chats = AllChats::new();
    for platform in all {
        let settings = one(reader, root, platform);
        if settings != ChatSettings::default() {
            chats.insert(platform.name, settings);
        }
    }
    chats
}

fn one(reader: &mut Reader<'_>, root: &At, platform: &'static Declaration) -> ChatSettings {
    let blocks = Blocks::new(root, platform.name);
    let mut settings = ChatSettings::default();
    if blocks.blocks.is_empty() {
        return settings;
    }
    settings.typing = reader.flag(&blocks.get("typing_indicator")).unwrap_or(true);
    for (id, at) in map(reader, &blocks.get("channel_overrides")) {
        if reader.expect_map(&at) {
            let own = ChatOverride {
                model: reader.text(&at.key("model")),
                provider: reader.text(&at.key("provider")),
                system_prompt: reader.text(&at.key("system_prompt")),
            };
            settings.overrides.insert(id, own);
        }
    }
    for (id, at) in map(reader, &blocks.get("channel_prompts")) {
        settings.prompts.extend(reader.text(&at).map(|text| (id, text)));
    }
    let bindings = blocks.get("channel_skill_bindings");
    if bindings.is_seq() {
        // As 0.19.0 writes them.
        for at in bindings.items() {
            if !reader.expect_map(&at) {
                continue;
            }
            let mut skills = reader.list(&at.key("skills"));
            skills.extend(reader.text(&at.key("skill")));
            if let Some(id) = reader.text(&at.key("id")) {
                settings.skills.insert(id, skills);
            }
        }
    } else {
        for (id, at) in map(reader, &bindings) {
            let skills = reader.list(&at);
            settings.skills.insert(id, skills);
        }
    }
    settings
}

fn map(reader: &mut Reader<'_>, at: &At) -> Vec<(String, At)> {
    if at.is_set() && reader.expect_map(at) { at.entries() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::Role;
    use hermes_wire::{ProfileName, RootHome};

    use crate::{BusyAcks, BusyMode, Input, ProfileConfig, load};

    fn read(yaml: &str, env: &str) -> ProfileConfig {
        let profile = ProfileName::default_profile();
        let home = RootHome::new("/r").profile(&profile);
        let input = Input {
            registry: &crate::REGISTRY,
            profile: &profile,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
            home: &home,
            yaml: Some(yaml.as_bytes()),
            env: Some(env.as_bytes()),
        };
        let loaded = load(input);
        loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    }

    #[test]
    fn what_is_said_of_chats_is_read_in_both_shapes_of_bindings() {
        let yaml = "
telegram:
  typing_indicator: off
  channel_overrides: {-100: {model: m, provider: p, system_prompt: s}, '7': {model: n}}
  channel_prompts: {-100: late}
  channel_skill_bindings:
  - {id: -100, skills: [a, b]}
  - {id: '7', skill: c}
platforms: {discord: {channel_skill_bindings: {'9': [d], '8': e}}}
";
        let config = read(yaml, "");
        let telegram = &config.chats["telegram"];
        let own = &telegram.overrides["-100"];
        assert_eq!(
            [&own.model, &own.provider, &own.system_prompt].map(|text| text.as_deref()),
            [Some("m"), Some("p"), Some("s")]
        );
        assert_eq!(
            (telegram.overrides.len(), telegram.prompts["-100"].as_str(), telegram.typing),
            (2, "late", false)
        );
        assert_eq!(
            (&*telegram.skills["-100"], &*telegram.skills["7"]),
            (&["a".into(), "b".into()][..], &["c".into()][..])
        );
        assert_eq!(
            (&*config.chats["discord"].skills["9"], &*config.chats["discord"].skills["8"]),
            (&["d".into()][..], &["e".into()][..])
        );
        assert!(config.chats["discord"].typing && !config.chats.contains_key("slack"));
    }

    #[test]
    fn a_busy_chat_interrupts_unless_something_else_is_said() {
        let config = read("", "");
        assert_eq!((config.busy_input_mode, config.busy_acks), (BusyMode::Interrupt, BusyAcks::default()));
        let yaml = "display: {busy_input_mode: steer, busy_ack_detail: false, busy_steer_ack_enabled: false}";
        let config =
            read(yaml, "HERMES_GATEWAY_BUSY_INPUT_MODE=Queue\nHERMES_GATEWAY_BUSY_ACK_ENABLED=false\n");
        assert_eq!(config.busy_input_mode, BusyMode::Queue);
        assert_eq!(config.busy_acks, BusyAcks { enabled: false, detail: false, steer: false });
    }

    #[test]
    fn what_is_said_is_written_down_where_a_command_is_there() {
        let of = |yaml: &str, env: &str| read(yaml, env).stt.map(|stt| (stt.command, stt.language));
        let yaml =
            "stt: {enabled: true, provider: w, providers: {w: {command: 'w {input_path}', language: de}}}";
        let is = |command: &str, language: &str| Some((command.to_owned(), language.to_owned()));
        assert_eq!(of(yaml, ""), is("w {input_path}", "de"));
        assert_eq!(of(&yaml.replace("true", "false"), "HERMES_LOCAL_STT_COMMAND=x"), None);
        assert_eq!(of(&yaml.replace("enabled: true, ", ""), ""), None, "nobody asked for it");
        assert_eq!(of("", "HERMES_LOCAL_STT_COMMAND=x\nHERMES_LOCAL_STT_LANGUAGE=fr\n"), is("x", "fr"));
        assert_eq!(of("stt: {enabled: true, provider: local}", ""), None);
    }
}
