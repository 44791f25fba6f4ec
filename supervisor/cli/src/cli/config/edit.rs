//! `hermes config edit`: the user's editor on a copy, which takes the file's place only when it can be read.
//!
//! The file itself is never broken, not even while somebody types: a gateway that watches it sees the old text, then the new
//! one. A copy that is not taken over is kept, and its path is said.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::MAX_FILE_LEN;
use hermes_config::document::Document;
use hermes_host::refusal::Io;
use hermes_host::{child, disk};
use hermes_wire::{env, exit};

use super::super::Call;
use super::super::output::Output;
use crate::error::{EditError, HermesError};
use crate::home::{Selection, Surroundings};
use crate::settings::{self, Draft, SettingsError};

/// Editors that are looked for where the user names none.
const EDITORS: [&str; 4] = ["nano", "vim", "vi", "code"];
/// What `code` needs to be waited for.
const WAITING: [&str; 2] = ["code", "--wait"];

pub(super) fn run(call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    settings::may_change(&home, &call.env)?;
    let editor = editor(&call.env)?;
    let file = home.config();
    if !file.exists() && fs_err::symlink_metadata(&file).is_err() {
        settings::create(&selection.root, &selection.profile)?;
        out.line(&format!("Created {file}"))?;
    }
    let before = settings::bytes(&file)?.unwrap_or_default();
    let copy = Copy::make(home.path(), &before)?;
    loop {
        out.line(&format!("Opening {file} in {}...", editor[0]))?;
        let ended = run_editor(&editor, &copy.file, home.path())?;
        let text = copy.read()?;
        if let Some(how) = ended {
            let kept = copy.keep_unless(text == before);
            return Err(EditError::Failed { program: editor[0].clone(), how, file, kept }.into());
        }
        if text == before {
            out.line("Nothing was changed.")?;
            return Ok(exit::OK);
        }
        let Err(why) = Document::parse(&text) else {
            return finish(&selection, call, copy, &text, &before, out);
        };
        let place = format!("{}:{}:{}: {}", copy.file, why.line, why.column, why.message);
        if !again(&place)? {
            return Err(EditError::Unreadable { place, file, kept: copy.keep() }.into());
        }
    }
}

/// Puts the text in place and says what a start would say about it.
fn finish(
    selection: &Selection,
    call: &Call,
    copy: Copy,
    text: &[u8],
    before: &[u8],
    mut out: Output,
) -> Result<u8, HermesError> {
    let file = selection.home().config();
    if let Err(why) = settings::replace_config(selection, text, before) {
        // Whatever went wrong, what was typed is still there.
        return Err(EditError::NotSaved { why, file, kept: copy.keep() }.into());
    }
    copy.remove();
    out.line(&format!("✓ Saved {file}"))?;
    let draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
    let problems = draft.problems();
    for problem in &problems {
        out.write(&crate::status::render::problem(None, problem))?;
    }
    Ok(if problems.iter().any(|problem| problem.severity.stops_profile()) { exit::CONFIG } else { exit::OK })
}

/// The user's editor, as words.
fn editor(surroundings: &Surroundings) -> Result<Vec<String>, EditError> {
    if let Some(line) = &surroundings.editor {
        let words = shlex::split(line).filter(|words| words.first().is_some_and(|word| !word.is_empty()));
        return words.ok_or_else(|| EditError::NotACommand { line: line.clone() });
    }
    // Whoever names an editor knows what it needs; one that is found would wait for keys that nobody presses.
    if !std::io::stdin().is_terminal() {
        return Err(EditError::NoTerminal);
    }
    let on_path = |name: &&&str| surroundings.path.iter().any(|dir| dir.join(name).is_file());
    match EDITORS.iter().find(on_path) {
        Some(&"code") => Ok(WAITING.map(str::to_owned).to_vec()),
        Some(name) => Ok(vec![(*name).to_owned()]),
        None => Err(EditError::NoEditor),
    }
}

/// Runs it to its end; says how it failed.
fn run_editor(editor: &[String], file: &Utf8Path, home: &Utf8Path) -> Result<Option<String>, EditError> {
    let mut command = child::interactive(&editor[0]);
    // The profile's own, whoever selected it: what the editor starts is about the same one.
    command.args(&editor[1..]).arg(file).env(env::HERMES_HOME, home);
    let status = command.status().map_err(|why| EditError::NotStarted { program: editor[0].clone(), why })?;
    Ok(match status.code() {
        Some(0) => None,
        Some(code) => Some(format!("ended with exit code {code}")),
        None => Some("was ended by a signal".to_owned()),
    })
}

/// Says what is wrong and asks whether to go on; without a terminal the answer is no.
fn again(place: &str) -> Result<bool, HermesError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "✗ {place}\nEdit again? [Y/n] ");
    let mut answer = String::new();
    let read = input.lock().take(1024).read_line(&mut answer)?;
    Ok(read > 0 && !answer.trim().to_ascii_lowercase().starts_with('n'))
}

/// The copy that is edited, in a directory of its own so that editors know the file by its name. Dropping it keeps it.
struct Copy {
    dir: Utf8PathBuf,
    file: Utf8PathBuf,
}

impl Copy {
    fn make(home: &Utf8Path, bytes: &[u8]) -> Result<Self, HermesError> {
        let failed = |source| Io::at("make a copy in", home)(source);
        let dir = tempfile::Builder::new()
            .prefix(".edit-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(home)
            .map_err(failed)?;
        let dir = Utf8PathBuf::from_path_buf(dir.keep())
            .unwrap_or_else(|path| path.to_string_lossy().into_owned().into());
        let file = dir.join("config.yaml");
        disk::write_atomic(&file, bytes, false).map_err(failed)?;
        Ok(Self { dir, file })
    }

    fn read(&self) -> Result<Vec<u8>, SettingsError> {
        disk::read_bounded(&self.file, MAX_FILE_LEN).map_err(SettingsError::io("read", self.file.clone()))
    }

    fn keep(self) -> Utf8PathBuf {
        self.file
    }

    fn keep_unless(self, unchanged: bool) -> Option<Utf8PathBuf> {
        if unchanged {
            self.remove();
            return None;
        }
        Some(self.keep())
    }

    fn remove(self) {
        let _ = fs_err::remove_dir_all(&self.dir);
    }
}
