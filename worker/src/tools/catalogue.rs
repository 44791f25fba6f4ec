//! Which groups of tools a profile has, for people: what each holds, who is offered it, and how lists of `config.yaml` become others. Pure,
//! but for making the tools.

use std::collections::BTreeMap;

use hermes_config::{ProfileConfig, Toolsets};
use hermes_wire::ProfileHome;

use super::{Given, Tools, toolset};
use crate::skills::Library;

pub use super::toolset::NotOffered;

/// Groups of 0.19.0 that its `hermes-cli` holds: what stands for all of them is written out as these.
const ALL: [&str; 16] = [
    "browser",
    "clarify",
    "code_execution",
    "computer_use",
    "cronjob",
    "delegation",
    "file",
    "image_gen",
    "memory",
    "session_search",
    "skills",
    "terminal",
    "todo",
    "tts",
    "vision",
    "web",
];

/// A group of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What lists call it.
    pub name: String,
    /// Its tools.
    pub tools: Vec<String>,
    /// It is a tool server's.
    pub is_foreign: bool,
    /// Why it has no tool here, whatever lists say.
    pub lacks: Option<&'static str>,
}

/// The groups that a profile has, by name. `takes_messages`: whether messages can be sent to a platform's chats.
pub fn groups(
    config: &ProfileConfig,
    home: &ProfileHome,
    takes_messages: impl Fn(&str) -> bool,
) -> Vec<Group> {
    let tools = Tools::from_config(config, home, &Library::new(home, config), Given::default());
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tool in tools.all.iter().filter(|tool| tool.toolset() != toolset::TRIAL) {
        all.entry(tool.toolset().to_owned()).or_default().push(tool.name().to_owned());
    }
    let mut groups: Vec<Group> =
        all.into_iter().map(|(name, tools)| Group { name, tools, is_foreign: false, lacks: None }).collect();
    let mut more = |name: &str, tool: &str, lacks: Option<&'static str>| {
        if !groups.iter().any(|group| group.name == name) {
            groups.push(Group {
                name: name.to_owned(),
                tools: vec![tool.to_owned()],
                is_foreign: false,
                lacks,
            });
        }
    };
    // The ways out are the gateway's; what the files say of them is enough to tell.
    let reaches =
        config.platforms.iter().any(|platform| platform.supported && takes_messages(&platform.name));
    let no_way = "no platform of this profile takes messages";
    more(toolset::MESSAGING, super::send_message::NAME, (!reaches).then_some(no_way));
    more(toolset::MEMORY, "memory", Some("memory.memory_enabled and memory.user_profile_enabled are false"));
    for server in &config.servers.all {
        let lacks = if server.enabled { None } else { Some("its mcp_servers entry is turned off") };
        let lacks = server.fault.as_ref().map_or(lacks, |_| Some("its mcp_servers entry cannot be used"));
        // Which it has is known once it runs.
        let tools = vec![format!("mcp__{}__…", server.name)];
        groups.push(Group { name: server.name.clone(), tools, is_foreign: true, lacks });
    }
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    groups
}

/// Whether a group is offered to whoever comes by a platform.
pub fn judge(choice: &Toolsets, group: &Group, platform: &str) -> Result<(), NotOffered> {
    if group.is_foreign {
        toolset::judge_foreign(choice, &group.name, platform)
    } else {
        toolset::judge(choice, &group.name, platform)
    }
}

/// Names in a profile's lists that stand for no group here.
pub fn without_tools(choice: &Toolsets, groups: &[Group]) -> Vec<String> {
    let lists = choice.everywhere.iter().chain(choice.platforms.values()).flatten().chain(&choice.disabled);
    let mut names: Vec<String> = lists
        .filter(|name| !toolset::is_bundle(name) && !groups.iter().any(|group| group.name == **name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A list of `config.yaml` as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its key.
    pub key: String,
    /// What it says then.
    pub names: Vec<String>,
}

/// What a group's being turned on or off for one platform makes of the lists. None where it is so already.
pub fn edits(choice: &Toolsets, group: &Group, on: bool, platform: &str) -> Vec<Edit> {
    if judge(choice, group, platform).is_ok() == on {
        return Vec::new();
    }
    let everywhere = || choice.everywhere.clone().unwrap_or_else(|| vec!["hermes-cli".to_owned()]);
    // What a webhook is offered without a list of its own.
    let untrusted = || toolset::UNTRUSTED.iter().map(|name| (*name).to_owned()).collect();
    let list = choice.platforms.get(platform).cloned();
    let list = list.unwrap_or_else(|| if platform == "webhook" { untrusted() } else { everywhere() });
    vec![Edit { key: format!("platform_toolsets.{platform}"), names: changed(list, group, on) }]
}

/// The same everywhere.
pub fn edits_everywhere(choice: &Toolsets, group: &Group, on: bool) -> Vec<Edit> {
    let name = &group.name;
    let takes_away =
        |other: &String| if group.is_foreign { other == name } else { toolset::takes_away(other, name) };
    let mut edits = Vec::new();
    if choice.disabled.iter().any(takes_away) == on {
        let names = if on {
            changed(choice.disabled.clone(), group, false)
        } else {
            choice.disabled.iter().cloned().chain([name.clone()]).collect()
        };
        edits.push(Edit { key: "agent.disabled_toolsets".to_owned(), names });
    }
    // As if nothing took it away.
    let bare = Toolsets { everywhere: choice.everywhere.clone(), ..Toolsets::default() };
    if on && judge(&bare, group, "").is_err() {
        let list = choice.everywhere.clone().unwrap_or_else(|| vec!["hermes-cli".to_owned()]);
        edits.push(Edit { key: "toolsets".to_owned(), names: changed(list, group, true) });
    }
    edits
}

/// A list with a group, or without: names that stand for several are written out where one of them goes.
fn changed(list: Vec<String>, group: &Group, on: bool) -> Vec<String> {
    let name = &group.name;
    if on {
        return list.into_iter().chain([name.clone()]).collect();
    }
    let mut names: Vec<String> = Vec::new();
    for other in list {
        let holds = if group.is_foreign { toolset::is_bundle(&other) } else { toolset::holds(&other, name) };
        if !holds {
            names.push(other);
        } else if other != *name {
            names.extend(ALL.iter().filter(|one| toolset::holds(&other, one)).map(|one| (*one).to_owned()));
        }
    }
    names.retain(|other| other != name);
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use hermes_wire::ProfileName;

    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn judge(choice: &Toolsets, group: &str, platform: &str) -> Result<(), NotOffered> {
        toolset::judge(choice, group, platform)
    }

    fn of_name(name: &str) -> Group {
        Group { name: name.to_owned(), tools: Vec::new(), is_foreign: false, lacks: None }
    }

    fn applied(mut choice: Toolsets, edits: Vec<Edit>) -> Toolsets {
        for Edit { key, names } in edits {
            match key.strip_prefix("platform_toolsets.") {
                Some(platform) => drop(choice.platforms.insert(platform.to_owned(), names)),
                None if key == "toolsets" => choice.everywhere = Some(names),
                None => choice.disabled = names,
            }
        }
        choice
    }

    /// Whatever the lists were, a group that is turned on or off is so afterwards, and no other one changes.
    #[test]
    fn what_is_turned_on_is_on_and_nothing_else_moves() {
        let choices = [
            Toolsets::default(),
            Toolsets { everywhere: Some(list(&["hermes-cli"])), ..Toolsets::default() },
            Toolsets { everywhere: Some(list(&["file", "todo"])), ..Toolsets::default() },
            Toolsets { disabled: list(&["web", "safe"]), ..Toolsets::default() },
            Toolsets {
                platforms: [("telegram".to_owned(), list(&["debugging", "memory"]))].into(),
                ..Toolsets::default()
            },
        ];
        for choice in &choices {
            for group in ["web", "file", "memory", toolset::MESSAGING] {
                for on in [true, false] {
                    let after = applied(choice.clone(), edits_everywhere(choice, &of_name(group), on));
                    assert_eq!(judge(&after, group, "discord").is_ok(), on, "{choice:?} {group} {on}");
                    assert!(edits_everywhere(&after, &of_name(group), on).is_empty(), "{after:?} {group}");
                    for platform in ["telegram", "webhook"] {
                        if judge(choice, group, platform) == Err(NotOffered::Disabled) {
                            continue;
                        }
                        let after = applied(choice.clone(), edits(choice, &of_name(group), on, platform));
                        assert_eq!(
                            judge(&after, group, platform).is_ok(),
                            on,
                            "{choice:?} {group} {platform}"
                        );
                        for other in ["web", "file", "memory", "todo", "clarify", "vision"] {
                            if other != group {
                                let is = |choice| judge(choice, other, platform).is_ok();
                                assert_eq!(is(&after), is(choice), "{choice:?} {group} {platform} {other}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn groups_have_their_tools_and_names_without_any_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let mut config = ProfileConfig::new(ProfileName::default_profile());
        config.toolsets.everywhere = Some(list(&["hermes-cli", "vision", "made-up", "web"]));
        let groups = groups(&config, &home, |_| false);
        let of = |name: &str| groups.iter().find(|group| group.name == name).unwrap();
        assert_eq!(of("file").tools, ["patch", "read_file", "search_files", "write_file"]);
        assert_eq!(of("skills").tools, ["skill_manage", "skill_view", "skills_list"]);
        assert!(of("messaging").lacks.is_some() && of("web").lacks.is_none());
        assert_eq!(without_tools(&config.toolsets, &groups), ["made-up", "vision"]);
    }
}
