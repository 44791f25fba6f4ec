//! What the tools of skills answer: the list, a skill, a file of a skill. In the shapes and words of 0.19.0.

use std::collections::BTreeSet;

use camino::{Utf8Component, Utf8Path};
use hermes_host::disk;
use serde_json::{Value, json};

use super::scan::PARTS;
use super::{Library, Skill};

/// Longest text of a file that is given, in bytes; the result as a whole is bounded as well.
const MOST: usize = 40_000;
/// Most files of a skill that are named.
const FILES: usize = 200;
/// Most names that are shown where one is not found.
const NAMES: usize = 20;
/// Deepest directory of a skill that is looked into.
const DEPTH: usize = 6;

impl Library {
    /// The list of what can be used. Blocks.
    pub(crate) fn list(&self, category: Option<&str>, platform: &str) -> Value {
        let mut all = self.usable(platform);
        if all.is_empty() {
            return json!({"success": true, "skills": [], "categories": [], "message": "No skills found in skills/ directory."});
        }
        all.retain(|skill| category.is_none_or(|wanted| wanted.is_empty() || skill.top() == Some(wanted)));
        all.sort_by(|a, b| (a.top(), &a.name).cmp(&(b.top(), &b.name)));
        let entry = |skill: &Skill| json!({"name": skill.name, "description": skill.front.description, "category": skill.top()});
        let categories: BTreeSet<&str> = all.iter().filter_map(Skill::top).collect();
        json!({
            "success": true,
            "skills": all.iter().map(entry).collect::<Vec<_>>(),
            "categories": categories,
            "count": all.len(),
            "hint": "Use skill_view(name) to see full content, tags, and linked files",
        })
    }

    /// A skill by its name, its directory, or its place below the directory of skills. Blocks.
    pub(crate) fn find(&self, name: &str, platform: &str) -> Result<Skill, Value> {
        let wanted = name.trim().trim_end_matches('/');
        let place = wanted.replace(':', "/");
        let is_path = |path: &str| {
            Utf8Path::new(path).components().all(|part| matches!(part, Utf8Component::Normal(_)))
        };
        if wanted.is_empty() || !is_path(&place) {
            return Err(json!({
                "success": false,
                "error": format!("Invalid skill name '{name}'."),
                "hint": "Use a skill name or relative path within the skills directory.",
            }));
        }
        let mut found = self.found();
        found.retain(|skill| {
            skill.name == wanted || skill.dir.file_name() == Some(wanted) || skill.place == place
        });
        match found.as_slice() {
            [] => {
                let mut names: Vec<String> =
                    self.usable(platform).into_iter().map(|skill| skill.name).collect();
                names.sort();
                names.truncate(NAMES);
                Err(json!({
                    "success": false,
                    "error": format!("Skill '{name}' not found."),
                    "available_skills": names,
                    "hint": "Use skills_list to see all available skills",
                }))
            }
            [one] if self.is_off(one, platform) => Err(json!({
                "success": false,
                "error": format!(
                    "Skill '{}' is disabled. Enable it with `hermes skills` or inspect the files directly on disk.",
                    one.name
                ),
            })),
            [one] => Ok(one.clone()),
            // One by its very place is meant, whatever others are called.
            _ if found.iter().filter(|skill| skill.place == place).count() == 1 && place.contains('/') => {
                found.into_iter().find(|skill| skill.place == place).ok_or_else(|| json!({"success": false}))
            }
            _ => Err(json!({
                "success": false,
                "error": format!(
                    "Ambiguous skill name '{name}': {} skills match across your local skills dir and external_dirs. Refusing to guess \
                     — load one explicitly by its categorized path.",
                    found.len()
                ),
                "matches": found.iter().map(|skill| skill.dir.join("SKILL.md")).collect::<Vec<_>>(),
                "hint": "Pass the full relative path instead of the bare name (e.g., 'category/skill-name'), or rename one of the \
                         colliding skills so each name is unique.",
            })),
        }
    }

    /// A skill, or one of its files. Blocks.
    pub(crate) fn view(&self, name: &str, file: Option<&str>, platform: &str, session: &str) -> Value {
        let skill = match self.find(name, platform) {
            Ok(skill) => skill,
            Err(refusal) => return refusal,
        };
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            return of_file(&skill, name, file);
        }
        let Some(text) = self.text(&skill, Some(session)) else {
            return json!({"success": false, "error": format!("Failed to read skill '{name}'.")});
        };
        let front = &skill.front;
        let linked = linked(&skill);
        let missing: Vec<&String> = front
            .variables
            .iter()
            .filter(|name| !self.0.variables.iter().any(|known| known == *name))
            .collect();
        let usage = "To view linked files, call skill_view(name, file_path) where file_path is e.g. 'references/api.md' or \
                     'assets/config.yaml'";
        json!({
            "success": true,
            "name": skill.name,
            "description": front.description,
            "tags": front.tags,
            "related_skills": front.related,
            "content": bounded(text),
            "path": skill.place.join("SKILL.md"),
            "skill_dir": skill.dir,
            "usage_hint": (!linked.is_null()).then_some(usage),
            "linked_files": linked,
            "required_environment_variables": front.variables,
            "missing_required_environment_variables": missing,
            "setup_needed": !missing.is_empty(),
            "readiness_status": if missing.is_empty() { "available" } else { "setup_needed" },
        })
    }

    /// The whole text of a skill, with what its author left to be filled in.
    pub(super) fn text(&self, skill: &Skill, session: Option<&str>) -> Option<String> {
        let bytes = disk::read_start(&skill.dir.join("SKILL.md"), MOST as u64 * 4).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !self.0.settings.template_vars {
            return Some(text);
        }
        let text = text.replace("${HERMES_SKILL_DIR}", skill.dir.as_str());
        Some(session.map_or_else(|| text.clone(), |session| text.replace("${HERMES_SESSION_ID}", session)))
    }
}

/// A text as far as it is given.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str("\n… [cut here]");
    }
    text
}

fn of_file(skill: &Skill, name: &str, file: &str) -> Value {
    let outside = |error: &str| json!({"success": false, "error": error, "hint": "Use a relative path within the skill directory"});
    let path = Utf8Path::new(file);
    if path.components().any(|part| part == Utf8Component::ParentDir) {
        return outside("Path traversal ('..') is not allowed.");
    }
    let target = skill.dir.join(path);
    let (Ok(dir), real) = (skill.dir.canonicalize_utf8(), target.canonicalize_utf8()) else {
        return outside("The skill's directory cannot be read.");
    };
    let Ok(real) = real else {
        if path.is_absolute() {
            return outside("Path escapes allowed directory.");
        }
        return json!({
            "success": false,
            "error": format!("File '{file}' not found in skill '{name}'."),
            "available_files": linked(skill),
            "hint": "Use one of the available file paths listed above",
        });
    };
    // Wherever links lead.
    if !real.starts_with(&dir) {
        return outside("Path escapes allowed directory.");
    }
    let bytes = match disk::read_start(&real, MOST as u64 + 4) {
        Ok(bytes) => bytes,
        Err(error) => return json!({"success": false, "error": format!("Failed to read '{file}': {error}")}),
    };
    let end = bytes.len().min(MOST);
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.to_owned(),
        // Cut in the middle of a character.
        Err(error) if error.valid_up_to() + 4 > end && bytes.len() > MOST => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => {
            let size = fs_err::metadata(&real).map(|meta| meta.len()).unwrap_or_default();
            let what = format!("[Binary file: {}, size: {size} bytes]", real.file_name().unwrap_or_default());
            return json!({"success": true, "name": name, "file": file, "content": what, "is_binary": true});
        }
    };
    let kind = real.extension().map(|end| format!(".{end}")).unwrap_or_default();
    json!({"success": true, "name": name, "file": file, "content": bounded(text), "file_type": kind})
}

/// The files that belong to a skill, by the directory they are in; `null` where there are none.
fn linked(skill: &Skill) -> Value {
    let mut all = serde_json::Map::new();
    for part in PARTS {
        let files = files(skill, part);
        if !files.is_empty() {
            all.insert(part.to_owned(), json!(files));
        }
    }
    if all.is_empty() { Value::Null } else { Value::Object(all) }
}

/// The files in one of its directories, with paths below the skill.
pub(super) fn files(skill: &Skill, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(skill.dir.join(part), 0)];
    while let Some((dir, depth)) = open.pop() {
        let Ok(entries) = dir.read_dir_utf8() else { continue };
        for entry in entries.filter_map(Result::ok) {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH {
                open.push((entry.path().to_owned(), depth + 1));
            } else if kind.is_file()
                && let Ok(path) = entry.path().strip_prefix(&skill.dir)
            {
                found.push(path.to_string());
            }
        }
    }
    found.sort();
    found.truncate(FILES);
    found
}

/// The name of a skill as a command: lower case, words joined by hyphens.
pub(super) fn slug(name: &str) -> String {
    let name = name.to_lowercase().replace([' ', '_'], "-");
    let clean: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    clean.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
