//! The index of the prompt: which skills there are, and when to read one. Pure, but for the descriptions of categories.

use std::collections::{BTreeMap, BTreeSet};

use super::front_matter;
use super::{Library, Skill};
use hermes_host::disk;

/// Longest description of one skill, in characters, as 0.19.0 cuts them.
const SHOWN: usize = 60;
/// How much of a category's `DESCRIPTION.md` is read, in bytes.
const HEAD: u64 = 16 * 1024;

const BEFORE: &str = "## Skills (mandatory)\n\
    These skills say how things are done here. Before you answer, look through them; where one fits the task, or part of it, load it \
    with skill_view(name) and do as it says, also where you know another way. Better one too many than one too few.";
const AFTER: &str = "Go on without a skill only where none of them has to do with the task.";

/// What is offered beside skills, for those that depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered<'a> {
    pub(crate) tools: &'a BTreeSet<&'a str>,
    pub(crate) toolsets: &'a BTreeSet<&'a str>,
}

/// All skills, by the platform that asks only when the index is made, and what their categories are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shelf {
    skills: Vec<(Skill, BTreeSet<String>)>,
    categories: BTreeMap<String, String>,
}

impl Library {
    /// What the index needs of files. Blocks.
    pub(crate) fn shelf(&self) -> Shelf {
        let off_at = |skill: &Skill| {
            let platforms = self.0.settings.platform_disabled.keys();
            platforms.filter(|platform| self.is_off(skill, platform)).cloned().collect()
        };
        let skills: Vec<(Skill, BTreeSet<String>)> = self
            .usable("")
            .into_iter()
            .map(|skill| {
                let off = off_at(&skill);
                (skill, off)
            })
            .collect();
        let mut categories = BTreeMap::new();
        for root in self.roots() {
            for (skill, _) in &skills {
                let category = skill.category();
                if categories.contains_key(&category) {
                    continue;
                }
                let path = root.join(&category).join("DESCRIPTION.md");
                let about = disk::read_start(&path, HEAD).ok();
                if let Some(text) = about.and_then(|bytes| front_matter::read(&bytes).description) {
                    categories.insert(category, text);
                }
            }
        }
        Shelf { skills, categories }
    }
}

impl Shelf {
    /// The block of the prompt; nothing where there is no skill.
    pub(crate) fn block(&self, platform: &str, offered: Offered<'_>) -> String {
        let mut by_category: BTreeMap<String, Vec<&Skill>> = BTreeMap::new();
        for (skill, off) in &self.skills {
            if !off.contains(platform) && is_shown(skill, offered) {
                by_category.entry(skill.category()).or_default().push(skill);
            }
        }
        if by_category.is_empty() {
            return String::new();
        }
        let mut lines = Vec::new();
        for (category, mut skills) in by_category {
            let about = self.categories.get(&category).map(|text| format!(" {text}")).unwrap_or_default();
            lines.push(format!("  {category}:{about}"));
            skills.sort_by(|a, b| a.name.cmp(&b.name));
            for skill in skills {
                let about = skill.front.description.as_deref().map(cut).unwrap_or_default();
                lines.push(format!("    - {}: {about}", skill.name));
            }
        }
        format!("{BEFORE}\n\n<available_skills>\n{}\n</available_skills>\n\n{AFTER}", lines.join("\n"))
    }
}

/// Whether what it needs is there, and what it stands in for is not.
fn is_shown(skill: &Skill, offered: Offered<'_>) -> bool {
    let front = &skill.front;
    let has = |all: &BTreeSet<&str>, name: &String| all.contains(name.as_str());
    front.requires_tools.iter().all(|name| has(offered.tools, name))
        && front.requires_toolsets.iter().all(|name| has(offered.toolsets, name))
        && !front.fallback_for_tools.iter().any(|name| has(offered.tools, name))
        && !front.fallback_for_toolsets.iter().any(|name| has(offered.toolsets, name))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    format!("{}...", text.chars().take(SHOWN - 3).collect::<String>())
}
