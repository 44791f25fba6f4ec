//! What programs that work with files delete and write, and where.

use super::super::paths::{Dirs, Place};
use super::super::words::{Script, Simple, Word};
use super::super::{Danger, Setting};
use super::{Judge, has, operands};

impl Judge<'_> {
    /// What a program does to the files that it is told.
    pub(super) fn files(&mut self, program: &str, arguments: &[Word], shown: &str, dirs: &Dirs) {
        match program {
            "rm" | "rmdir" | "unlink" | "trash" | "srm" => {
                let deep = has(arguments, "rR", &["recursive", "no-preserve-root"]);
                for word in operands(arguments) {
                    self.delete(word, deep, shown, dirs);
                }
            }
            "shred" | "wipe" => {
                for word in operands(arguments) {
                    self.delete(word, true, shown, dirs);
                    self.write(word, shown, dirs);
                }
            }
            "tee" | "truncate" | "touch" | "sponge" | "mkfifo" | "mknod" => {
                for word in operands(arguments) {
                    self.write(word, shown, dirs);
                }
            }
            "cp" | "install" | "ln" | "rsync" | "scp" => self.put(arguments, shown, dirs),
            "mv" => {
                self.put(arguments, shown, dirs);
                let all: Vec<&Word> = operands(arguments).collect();
                for word in all.iter().take(all.len().saturating_sub(1)) {
                    self.delete(word, false, shown, dirs);
                }
            }
            "dd" => {
                for target in arguments.iter().filter_map(|word| word.text.strip_prefix("of=")) {
                    self.write(&Word::of(target), shown, dirs);
                }
            }
            "sed" | "perl" | "ruby" if has(arguments, "i", &["in-place"]) => {
                for word in operands(arguments) {
                    self.write(word, shown, dirs);
                }
            }
            "curl" | "wget" | "sort" | "gcc" | "cc" => {
                for word in after(arguments, &["-o", "-O", "--output", "--output-document"]) {
                    self.write(&word, shown, dirs);
                }
            }
            "tar" | "unzip" | "bsdtar" => {
                for word in after(arguments, &["-C", "-d", "--directory"]) {
                    self.write(&word, shown, dirs);
                }
            }
            "chmod" => self.chmod(arguments, shown, dirs),
            "chown" | "chgrp" | "setfacl" | "chattr" => {
                let deep = has(arguments, "R", &["recursive"]);
                let outside = self.any(operands(arguments).skip(1), dirs, |place| !is_own(place));
                if deep || outside {
                    self.find(Danger::Permissions, shown);
                }
            }
            _ => {}
        }
    }

    /// The last operand, or what `-t` names.
    fn put(&mut self, arguments: &[Word], shown: &str, dirs: &Dirs) {
        for word in after(arguments, &["-t", "--target-directory"]) {
            self.write(&word, shown, dirs);
        }
        let all: Vec<&Word> = operands(arguments).collect();
        if let Some(last) = all.last().filter(|_| all.len() > 1) {
            self.write(last, shown, dirs);
        }
        if has(
            arguments,
            "",
            &["delete", "delete-after", "delete-before", "delete-excluded", "remove-source-files"],
        ) && let Some(last) = all.last()
        {
            self.delete(last, true, shown, dirs);
        }
    }

    /// A deletion; `deep` of whole directories.
    pub(super) fn delete(&mut self, word: &Word, deep: bool, shown: &str, dirs: &Dirs) {
        for place in dirs.places(word, self.setting) {
            let danger = match place {
                Place::Inside | Place::Temporary | Place::Harmless => continue,
                Place::Everything if deep => Danger::DeleteAll,
                Place::System if deep && is_top(word) => Danger::DeleteAll,
                Place::Around | Place::Unknown if !deep => continue,
                Place::Secret | Place::Gateway => Danger::Gateway,
                Place::Device => Danger::Device,
                Place::Started | Place::System if !deep => Danger::SystemFiles,
                Place::Around
                | Place::Unknown
                | Place::Everything
                | Place::Elsewhere
                | Place::Logins
                | Place::Started
                | Place::System => Danger::Delete,
            };
            self.find(danger, shown);
        }
    }

    fn chmod(&mut self, arguments: &[Word], shown: &str, dirs: &Dirs) {
        let mut all = arguments
            .iter()
            .filter(|word| !matches!(word.text.as_str(), "-R" | "-v" | "-f" | "-c" | "--recursive"));
        let mode = all.next().map(|word| word.text.clone()).unwrap_or_default();
        let number = u32::from_str_radix(&mode, 8).ok();
        let opens = match number {
            Some(mode) => mode & 0o002 != 0 || mode & 0o6000 != 0,
            None => mode.split(',').any(opens),
        };
        let outside = self.any(all, dirs, |place| !is_own(place));
        if opens || outside {
            self.find(Danger::Permissions, shown);
        }
    }

    fn any<'w>(
        &self,
        mut words: impl Iterator<Item = &'w Word>,
        dirs: &Dirs,
        is: impl Fn(Place) -> bool,
    ) -> bool {
        words.any(|word| dirs.places(word, self.setting).into_iter().any(&is))
    }

    /// What `find` finds below `starts` is deleted.
    fn delete_found(&mut self, starts: &[Word], shown: &str, dirs: &Dirs) {
        for start in starts {
            // What it finds is below: the workspace itself stays.
            if !dirs_inside(dirs, start, self.setting) {
                self.delete(start, true, shown, dirs);
            }
        }
    }

    /// `find`: what it deletes, and what it runs for what it finds.
    pub(super) fn search(
        &mut self,
        arguments: &[Word],
        command: &Simple,
        script: &Script,
        dirs: &mut Dirs,
        depth: usize,
    ) {
        let shown = command.text();
        let starts = arguments.iter().take_while(|word| !word.text.starts_with(['-', '(', '!']));
        let starts: Vec<Word> = starts.cloned().collect();
        let here = vec![Word::of(".")];
        let starts = if starts.is_empty() { &here } else { &starts };
        if arguments.iter().any(|word| word.text == "-delete") {
            self.delete_found(starts, &shown, dirs);
        }
        for (at, _) in arguments.iter().enumerate().filter(|(_, word)| {
            matches!(
                word.text.as_str(),
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"
            )
        }) {
            let inner = arguments[at + 1..].iter().take_while(|word| word.text != ";" && word.text != "+");
            let inner: Vec<Word> = inner.cloned().collect();
            if inner.first().is_some_and(|word| super::base(word) == "rm") {
                self.delete_found(starts, &shown, dirs);
            }
            // `{}` is what is found.
            let found = |word: &Word| if word.text == "{}" { starts[0].clone() } else { word.clone() };
            let inner: Vec<Word> = inner.iter().map(found).filter(|word| word.text != ".").collect();
            self.words(&inner, command, script, dirs, depth + 1);
        }
    }
}

/// Whether a search stays in the workspace.
fn dirs_inside(dirs: &Dirs, start: &Word, setting: Setting<'_>) -> bool {
    let places = dirs.places(start, setting);
    let is_workspace = |word: &Word| {
        let below = Word::of(&format!("{}/x", word.text.trim_end_matches('/')));
        dirs.places(&below, setting)
            .into_iter()
            .all(|place| matches!(place, Place::Inside | Place::Temporary))
    };
    places.into_iter().all(|place| matches!(place, Place::Inside | Place::Temporary | Place::Around))
        && is_workspace(start)
}

fn is_own(place: Place) -> bool {
    matches!(place, Place::Inside | Place::Around | Place::Temporary | Place::Elsewhere | Place::Unknown)
}

/// `/etc`, `/usr/*`: one of the machine's own directories as a whole.
fn is_top(word: &Word) -> bool {
    let path = word.text.trim_end_matches(['*', '/']);
    path.starts_with('/') && path.matches('/').count() == 1
}

/// `o+w`, `a=rwx`, `+w`, `u+s`
fn opens(clause: &str) -> bool {
    let Some(at) = clause.find(['+', '=']) else { return false };
    let (who, what) = (&clause[..at], &clause[at + 1..]);
    let everybody = who.contains('o') || who.contains('a');
    (everybody && what.contains('w')) || what.contains('s')
}

/// What follows an option, or stands behind its `=`.
fn after(arguments: &[Word], options: &[&str]) -> Vec<Word> {
    let mut found = Vec::new();
    for (at, word) in arguments.iter().enumerate() {
        if options.contains(&word.text.as_str()) {
            found.extend(arguments.get(at + 1).cloned());
        } else if let Some((option, value)) = word.text.split_once('=')
            && options.contains(&option)
        {
            found.push(Word::of(value));
        } else {
            let glued = options
                .iter()
                .filter(|option| option.len() == 2)
                .find_map(|option| word.text.strip_prefix(option));
            if let Some(value) = glued.filter(|value| !value.is_empty() && value.contains('/')) {
                found.push(Word::of(value));
            }
        }
    }
    found
}
