//! `hermes skills enable`, `disable` and `install`.

use camino::Utf8Path;
use hermes_config::MAX_FILE_LEN;
use hermes_host::disk;
use hermes_host::refusal::Io;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::exit;
use hermes_worker::skills;
use serde_json::json;

use super::super::output::Output;
use super::super::{Call, config};
use crate::error::{CommandError, HermesError};
use crate::profile::copy::Copier;
use crate::settings::As;
use crate::skills::tree::{self, Tree};
use crate::skills::{bundle, installed};

const DISABLED: [&str; 2] = ["skills", "disabled"];
/// Where a skill stands until it is whole: nobody looks for skills there.
const ASIDE: &str = ".archive";

/// Takes a name out of `skills.disabled`, or puts it there.
pub(super) fn turn(name: &str, on: bool, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    let file = home.config();
    let bytes = disk::read_bounded(&file, MAX_FILE_LEN).or_absent().map_err(Io::at("read", &file))?;
    let mut disabled = hermes_config::list_at(&bytes.unwrap_or_default(), &DISABLED);
    let (all, _) = installed::list(&home, bundle::all());
    let is_listed = disabled.iter().any(|known| known == name);
    let is_there = all.iter().any(|skill| skill.name == name);
    if !(is_there || on && is_listed) {
        return Err(CommandError::NoSuchSkill { profile: selection.profile, name: name.to_owned() }.into());
    }
    let mut out = Output::stdout();
    let word = if on { "enabled" } else { "disabled" };
    if is_listed != on {
        out.line(&format!("Skill '{name}' of profile '{}' is {word} already.", selection.profile))?;
        return Ok(exit::OK);
    }
    if on {
        disabled.retain(|known| known != name);
    } else {
        disabled.push(name.to_owned());
    }
    let value = json!(disabled).to_string();
    config::change(&selection, call, |draft| draft.set(&DISABLED.join("."), &value, As::Json))?;
    out.line(&format!("✓ Skill '{name}' of profile '{}' is {word}.", selection.profile))?;
    Ok(exit::OK)
}

/// Copies a skill into the home.
pub(super) fn install(path: &Utf8Path, force: bool, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    let refused = |why: String, hint| CommandError::NotInstalled { path: path.to_owned(), why, hint };
    let failed = |error: &dyn std::error::Error| refused(hermes_host::cause::chain(error), None);
    let from = path.canonicalize_utf8().map_err(|error| failed(&error))?;
    let front = skills::scan::head(&from);
    if let Some(problem) = front.problem {
        let hint = "a skill is a directory with a SKILL.md that begins with its name and description";
        return Err(refused(format!("in its SKILL.md, {problem}"), Some(hint)).into());
    }
    if !matches!(tree::look(&from), Tree::Files(_)) {
        let why = "it holds a link, a special file, or more than a skill may have".to_owned();
        return Err(refused(why, Some("put copies of the files into it")).into());
    }
    let name = skills::scan::name_of(&front, &from);
    let (all, _) = installed::list(&home, bundle::all());
    if let Some(known) = all.iter().find(|skill| skill.name == name) {
        return Err(refused(
            format!("profile '{}' has `{name}` in `{}`", selection.profile, known.path),
            None,
        )
        .into());
    }
    let text = disk::read_bounded(&from.join("SKILL.md"), MAX_FILE_LEN).map_err(|error| failed(&error))?;
    let found = skills::suspicions(&String::from_utf8_lossy(&text));
    if !found.is_empty() && !force {
        let why = format!("its text looks like an attack on the model ({})", found.join(", "));
        return Err(refused(why, Some("read it; `--force` installs it all the same")).into());
    }
    let own = from.file_name().unwrap_or_default();
    let below = home.path().join("skills");
    let aside = below.join(ASIDE);
    disk::make_dirs(&aside, 0o700).map_err(|error| failed(&error))?;
    let stage = tempfile::tempdir_in(&aside).map_err(|error| failed(&error))?;
    let to =
        Utf8Path::from_path(stage.path()).ok_or_else(|| refused("its path is not UTF-8".to_owned(), None))?;
    let parent = from.parent().unwrap_or(&from);
    let mut copier = Copier { from: parent, to, left_out: Vec::new(), bytes: 0, progress: &mut |_| true };
    copier.copy(Utf8Path::new(own), &|_| true).map_err(|error| failed(&error))?;
    disk::hand_over(to).and_then(|()| disk::sync_file_system(to)).map_err(|error| failed(&error))?;
    let target = below.join(own);
    disk::rename_new(&to.join(own), &target).map_err(|error| failed(&error))?;
    Output::stdout().line(&format!(
        "✓ Skill '{name}' is in `{target}`; sessions of profile '{}' that begin now are offered it.",
        selection.profile
    ))?;
    Ok(exit::OK)
}
