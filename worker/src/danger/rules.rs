//! The rules: what each simple command of a script does that somebody should be asked about.
//!
//! Rules for what only programs of one kind do are in the modules below; here is what holds for all: names behind others, redirections,
//! texts that are run.

mod files;
mod git;
mod programs;

use super::paths::{Dirs, Place};
use super::read;
use super::words::{Script, Simple, Word};
use super::{Danger, Finding, Setting};

/// How many texts within texts are read: `sh -c "sh -c '…'"`.
const DEEPEST: usize = 8;
/// Most findings that are kept.
const MOST: usize = 64;
/// Longest part that is shown, in characters.
const SHOWN: usize = 200;

/// Shells, which run what they read.
const SHELLS: [&str; 8] = ["ash", "bash", "csh", "dash", "fish", "ksh", "sh", "zsh"];
/// Other programs that do.
const INTERPRETERS: [&str; 12] =
    ["bun", "deno", "lua", "node", "nodejs", "perl", "php", "powershell", "pwsh", "python", "ruby", "tclsh"];

/// One judgement at work.
struct Judge<'a> {
    setting: Setting<'a>,
    findings: Vec<Finding>,
}

pub(super) fn judge(text: &str, setting: Setting<'_>) -> Vec<Finding> {
    let mut judge = Judge { setting, findings: Vec::new() };
    judge.text(text, &mut Dirs::new(setting.dir), 0);
    judge.findings
}

/// The name of a program, without its directory.
fn base(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}

fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// `python3.12` is `python`.
fn interpreter(name: &str) -> Option<&'static str> {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.into_iter().find(|known| *known == plain || *known == name)
}

/// Whether one of the options in front of everything else is `-c`, where `c` is one of `letters`, alone or among others, or `long`.
fn has(words: &[Word], letters: &str, long: &[&str]) -> bool {
    words.iter().any(|word| {
        let text = word.text.as_str();
        match text.strip_prefix("--") {
            Some(name) => long.contains(&name.split('=').next().unwrap_or_default()),
            None => {
                text.strip_prefix('-').is_some_and(|flags| flags.chars().any(|flag| letters.contains(flag)))
            }
        }
    })
}

/// What is no option.
fn operands(words: &[Word]) -> impl Iterator<Item = &Word> {
    let mut all = false;
    words.iter().filter(move |word| {
        if !all && word.text == "--" {
            all = true;
            return false;
        }
        all || !word.text.starts_with('-') || word.text == "-"
    })
}

impl Judge<'_> {
    fn find(&mut self, danger: Danger, part: &str) {
        let mut short: String = part.chars().take(SHOWN).collect();
        if short.len() < part.len() {
            short.push('…');
        }
        let finding = Finding { danger, part: short };
        if self.findings.len() < MOST && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A text that a shell is to run.
    fn text(&mut self, text: &str, dirs: &mut Dirs, depth: usize) {
        let script = if depth > DEEPEST { None } else { read::read(text) };
        let Some(script) = script else { return self.find(Danger::Unreadable, text.trim()) };
        for function in &script.functions {
            if function.multiplies && function.calls.contains(&function.name) {
                self.find(Danger::ForkBomb, &format!("{}()", function.name));
            }
        }
        for command in &script.commands {
            self.command(command, &script, dirs, depth);
        }
    }

    fn command(&mut self, command: &Simple, script: &Script, dirs: &mut Dirs, depth: usize) {
        for name in &command.set {
            self.variable(name, command);
        }
        let shown = command.text();
        for target in &command.writes {
            self.write(target, if shown.is_empty() { &target.text } else { &shown }, dirs);
        }
        for source in command.reads.iter().filter(|source| source.text.starts_with("/dev/tcp/")) {
            self.find(Danger::RemoteShell, &source.text);
        }
        self.reads_secrets(&command.reads, &shown, dirs);
        self.words(&command.words, command, script, dirs, depth);
    }

    /// A program with its arguments, which may be another program.
    fn words(&mut self, words: &[Word], command: &Simple, script: &Script, dirs: &mut Dirs, depth: usize) {
        let Some((name, arguments)) = words.split_first() else { return };
        let shown = command.text();
        if depth > DEEPEST {
            return self.find(Danger::Unreadable, &shown);
        }
        if !name.is_known() || name.is_pattern && name.text != "[" && name.text != "[[" {
            return self.find(Danger::Unknown, &shown);
        }
        let program = base(name).to_owned();
        if let Some(inner) = programs::behind(&program, arguments) {
            if programs::takes_rights(&program) {
                self.find(Danger::Privileges, &shown);
            }
            return self.words(&inner, command, script, dirs, depth + 1);
        }
        match program.as_str() {
            "cd" | "pushd" | "chdir" => {
                let to = operands(arguments).next();
                dirs.go(to, self.setting);
            }
            "eval" => match joined(arguments) {
                Some(text) => self.text(&text, dirs, depth + 1),
                None => self.find(Danger::Unknown, &shown),
            },
            "source" | "." => {
                if arguments.iter().any(|word| word.is_output) {
                    self.find(Danger::FetchedCode, &shown);
                } else if arguments.first().is_some_and(|word| !word.is_known()) {
                    self.find(Danger::Unknown, &shown);
                }
            }
            "trap" => {
                if let Some(action) = operands(arguments).next() {
                    match joined(std::slice::from_ref(action)) {
                        Some(text) if arguments.len() > 1 => self.text(&text, dirs, depth + 1),
                        Some(_) => {}
                        None => self.find(Danger::Unknown, &shown),
                    }
                }
            }
            "alias" => {
                for word in arguments {
                    if let Some((_, text)) = word.text.split_once('=') {
                        self.text(text, dirs, depth + 1);
                    }
                }
            }
            shell if is_shell(shell) => self.shell(arguments, command, script, dirs, depth),
            other if interpreter(other).is_some() => self.interpreter(arguments, command, script, &shown),
            "ssh" => self.elsewhere(programs::of_ssh(arguments), &shown, depth),
            "find" | "fd" | "fdfind" => self.search(arguments, command, script, dirs, depth),
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                for word in arguments {
                    self.variable(word.text.split('=').next().unwrap_or_default(), command);
                }
            }
            "git" if git::is_dangerous(arguments) => self.find(Danger::Git, &shown),
            _ => {}
        }
        self.files(&program, arguments, &shown, dirs);
        if let Some(danger) = programs::judge(&program, arguments) {
            self.find(danger, &shown);
        }
        if programs::is_database(&program) {
            let texts = arguments.iter().map(|word| &word.text);
            let given = script.given.iter().map(|word| &word.text);
            let fed = script.commands.iter().filter(|_| command.is_fed);
            let fed = fed.flat_map(|other| other.words.iter().map(|word| &word.text));
            if texts.chain(given).chain(fed).any(|text| programs::deletes_rows(text)) {
                self.find(Danger::Database, &shown);
            }
        }
        self.reads_secrets(arguments, &shown, dirs);
    }

    /// `bash …`: what it is given as text is read, what it is fed is not known.
    fn shell(
        &mut self,
        arguments: &[Word],
        command: &Simple,
        script: &Script,
        dirs: &mut Dirs,
        depth: usize,
    ) {
        let shown = command.text();
        let is_info = |word: &Word| matches!(word.text.as_str(), "--version" | "--help" | "-n");
        if arguments.iter().any(is_info) {
            return;
        }
        let flags = arguments.iter().take_while(|word| word.text.starts_with(['-', '+']));
        let options: Vec<&Word> = flags.collect();
        let takes_text = options.iter().any(|word| !word.text.starts_with("--") && word.text.contains('c'));
        let rest = &arguments[options.len()..];
        if takes_text {
            match rest.first() {
                Some(text) if text.is_known() => {
                    let mut dirs = dirs.clone();
                    self.text(&text.text, &mut dirs, depth + 1);
                }
                Some(text) if text.is_output => self.find(Danger::FetchedCode, &shown),
                _ => self.find(Danger::Unknown, &shown),
            }
            return;
        }
        match rest.first() {
            Some(file) if file.is_output => self.find(Danger::FetchedCode, &shown),
            Some(file) if file.text == "-" || file.text.starts_with("/dev/") => {
                self.fed_shell(command, script, dirs, depth, &shown);
            }
            Some(file) if !file.is_known() => self.find(Danger::Unknown, &shown),
            Some(_) => {}
            None => self.fed_shell(command, script, dirs, depth, &shown),
        }
    }

    fn fed_shell(&mut self, command: &Simple, script: &Script, dirs: &mut Dirs, depth: usize, shown: &str) {
        if command.is_fed || !command.reads.is_empty() || script.given.iter().any(|word| !word.is_known()) {
            return self.find(Danger::FetchedCode, shown);
        }
        for text in &script.given {
            self.text(&text.text, dirs, depth + 1);
        }
    }

    /// Code of other languages is not read: what is given with the command is looked at word by word.
    fn interpreter(&mut self, arguments: &[Word], command: &Simple, script: &Script, shown: &str) {
        let is_code = |word: &Word| {
            matches!(
                word.text.as_str(),
                "-c" | "-e"
                    | "-E"
                    | "-ne"
                    | "-pe"
                    | "-ie"
                    | "-p"
                    | "-r"
                    | "-Command"
                    | "--eval"
                    | "--print"
                    | "-Ic"
                    | "-Sc"
            )
        };
        let is_info =
            |word: &Word| matches!(word.text.as_str(), "--version" | "-V" | "-v" | "--help" | "-h" | "-m");
        if let Some(at) = arguments.iter().position(is_code) {
            let code = arguments.get(at + 1).filter(|code| code.is_known());
            if !code.is_some_and(|code| programs::is_harmless_code(&code.text)) {
                self.find(Danger::InlineCode, shown);
            }
            return;
        }
        if arguments.iter().any(is_info) {
            return;
        }
        match operands(arguments).next() {
            Some(file) if file.is_output => self.find(Danger::FetchedCode, shown),
            Some(file) if file.text != "-" => {}
            _ if command.is_fed || !command.reads.is_empty() => self.find(Danger::FetchedCode, shown),
            _ if script.given.iter().any(|code| !programs::is_harmless_code(&code.text)) => {
                self.find(Danger::InlineCode, shown);
            }
            _ => {}
        }
    }

    /// A command on another machine: nothing there is this profile's.
    fn elsewhere(&mut self, text: Option<String>, shown: &str, depth: usize) {
        let Some(text) = text else { return };
        if text.contains(super::words::UNKNOWN) {
            return self.find(Danger::Unknown, shown);
        }
        let nowhere = camino::Utf8Path::new("/\u{1}");
        let setting = Setting { dir: nowhere, workspace: nowhere, user: None, home: nowhere, root: nowhere };
        let mut judge = Judge { setting, findings: Vec::new() };
        judge.text(&text, &mut Dirs::new(nowhere), depth + 1);
        for finding in judge.findings {
            // Of another machine it is not the end of this one.
            let danger = if finding.danger.is_grave() { Danger::Delete } else { finding.danger };
            self.find(danger, shown);
        }
    }

    fn variable(&mut self, name: &str, command: &Simple) {
        let shown = if command.words.is_empty() { format!("{name}=…") } else { command.text() };
        if programs::LOADED.contains(&name) || name.starts_with("GIT_CONFIG") {
            self.find(Danger::Environment, &shown);
        }
    }

    /// A file is written.
    fn write(&mut self, target: &Word, shown: &str, dirs: &Dirs) {
        if target.text.starts_with("/dev/tcp/") || target.text.starts_with("/dev/udp/") {
            return self.find(Danger::RemoteShell, shown);
        }
        for place in dirs.places(target, self.setting) {
            let danger = match place {
                Place::Device => Danger::Device,
                Place::System | Place::Started => Danger::SystemFiles,
                Place::Logins => Danger::Credentials,
                Place::Secret | Place::Gateway => Danger::Gateway,
                Place::Inside
                | Place::Around
                | Place::Temporary
                | Place::Harmless
                | Place::Everything
                | Place::Elsewhere
                | Place::Unknown => continue,
            };
            self.find(danger, shown);
        }
    }

    fn reads_secrets(&mut self, words: &[Word], shown: &str, dirs: &Dirs) {
        for word in words.iter().filter(|word| word.is_known() && !word.text.is_empty()) {
            // `file=/path`, `@/path`, `--file=/path`
            let path = word.text.rsplit(['=', '@']).next().unwrap_or_default();
            let is_whole = path.len() == word.text.len();
            let path = Word { text: path.to_owned(), is_tilde: path.starts_with('~'), ..word.clone() };
            let places = dirs.places(&path, self.setting);
            let is_secret = places.iter().any(|place| matches!(place, Place::Secret | Place::Logins));
            let of_process = path.text.starts_with("/proc/") && path.text.ends_with("/environ");
            let shadow = ["/etc/shadow", "/etc/gshadow", "/etc/sudoers"].contains(&path.text.as_str());
            if is_secret && (is_whole || path.text.contains('/')) || of_process || shadow {
                self.find(Danger::Credentials, shown);
            }
        }
    }
}

/// Arguments as one text; `None` where something of it is not known.
fn joined(arguments: &[Word]) -> Option<String> {
    let known = arguments.iter().all(Word::is_known);
    known.then(|| arguments.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "))
}
