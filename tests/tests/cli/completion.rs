//! Completion in the real shells: what a TAB offers, for `hermes` and for alias commands.

use hermes_tests::Home;
use hermes_tests::command::{Ran, run};
use hermes_tests::terminal::{Terminal, environment};
use hermes_tests::tools::have;

const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

/// Profiles `coder`, `ops` and the built-in one; `c1` is an alias of coder.
fn home() -> Home {
    let home = Home::new();
    home.profile("coder").profile("ops");
    run(&home, &["profile", "alias", "coder", "--name", "c1"]).ok();
    // Neither is a profile.
    fs_err::create_dir(home.of("Upper")).unwrap();
    fs_err::create_dir(home.of(".hidden")).unwrap();
    home
}

#[expect(clippy::disallowed_methods, reason = "a shell is asked")]
fn shell(home: &Home, shell: &[&str], script: &str) -> String {
    let mut command = std::process::Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(script).env_clear().envs(environment(home));
    let ran = Ran::from(command.stdin(std::process::Stdio::null()).output().unwrap());
    assert_eq!(ran.err, "", "{ran:?}");
    ran.ok()
}

/// What the function offers for these words, the last one under the cursor.
fn bash(home: &Home, before: &str, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "{before}\neval \"$(hermes completion bash)\"\nCOMP_WORDS=({}); COMP_CWORD={}\n_hermes_completion\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    sorted(&shell(home, &["bash", "--norc"], &script))
}

fn fish(home: &Home, line: &str) -> Vec<String> {
    let script = format!("hermes completion fish | source; complete -C '{line}'");
    let out = shell(home, &["fish", "--no-config"], &script);
    let words: String =
        out.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned() + "\n").collect();
    sorted(&words)
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

const PROFILES: [&str; 3] = ["coder", "default", "ops"];

#[test]
fn bash_offers_what_can_follow() {
    if !have("bash-completion") {
        return;
    }
    let home = home();
    for before in ["", &format!(". {BASH_COMPLETION}")] {
        assert_eq!(bash(&home, before, &["hermes", "-p", ""]), PROFILES);
        assert_eq!(bash(&home, before, &["hermes", "--profile", "=", "co"]), ["coder"]);
        assert_eq!(bash(&home, before, &["hermes", "-p", "coder", "gatew"]), ["gateway"]);
        assert_eq!(bash(&home, before, &["hermes", "profile", "create", "x", "--clone-from", ""]), PROFILES);
        assert_eq!(bash(&home, before, &["c1", "gateway", "re"]), ["reload", "restart"]);
        assert!(!bash(&home, before, &["c1", "-"]).contains(&"-p".to_owned()));
        let script = "eval \"$(hermes completion bash)\"; complete -p hermes c1; _hermes_profiles";
        let registered = shell(&home, &["bash", "--norc"], script);
        assert_eq!(
            registered,
            "complete -F _hermes_completion hermes\ncomplete -F _hermes_completion c1\ndefault\ncoder\nops\n"
        );
    }
}

#[test]
fn fish_offers_what_can_follow() {
    if !have("fish") {
        return;
    }
    let home = home();
    assert_eq!(fish(&home, "hermes -p "), PROFILES);
    assert_eq!(fish(&home, "hermes --profile=co"), ["--profile=coder"]);
    assert_eq!(fish(&home, "hermes -p coder gatew"), ["gateway"]);
    assert_eq!(fish(&home, "hermes profile delete "), PROFILES);
    assert_eq!(fish(&home, "c1 gateway re"), ["reload", "restart"]);
    fs_err::write(home.user().join("my archive.tar.gz"), "").unwrap();
    let found = fish(&home, &format!("hermes profile import {}/my", home.user()));
    assert_eq!(found, [format!("{}/my archive.tar.gz", home.user())]);
}

#[test]
fn a_tab_in_bash_completes_the_word() {
    if !have("bash-completion") {
        return;
    }
    let home = home();
    fs_err::write(home.user().join("my archive.tar.gz"), "").unwrap();
    for before in ["", &format!(". {BASH_COMPLETION}; ")] {
        let mut terminal = Terminal::run(&home, "bash --norc --noprofile -i");
        terminal.keys(&format!("{before}eval \"$(hermes completion bash)\"; echo read''y\n"));
        terminal.wait_for("ready", 1);
        // The shell itself says which words it got.
        terminal.keys("hermes() { printf '<%s>' \"$@\"; }\n");
        terminal.keys("hermes --profile=cod\tstatus\n");
        terminal.wait_for("<--profile=coder><status>", 1);
        terminal.keys("hermes -p op\tprofile sho\tcode\t\n");
        terminal.wait_for("<-p><ops><profile><show><coder>", 1);
        terminal.keys(&format!("hermes profile import {}/my\t\n", home.user()));
        terminal.wait_for(&format!("<profile><import><{}/my archive.tar.gz>", home.user()), 1);
    }
}

#[test]
fn a_tab_in_zsh_completes_the_word() {
    if !have("zsh") {
        return;
    }
    let home = home();
    fs_err::write(home.user().join("my archive.tar.gz"), "").unwrap();
    let as_file = home.user().join("zfunc");
    fs_err::create_dir(&as_file).unwrap();
    fs_err::write(as_file.join("_hermes"), run(&home, &["completion", "zsh"]).ok()).unwrap();
    let load = [
        "autoload -Uz compinit; compinit -u; eval \"$(hermes completion zsh)\"".to_owned(),
        "eval \"$(hermes completion zsh)\"".to_owned(),
        format!("fpath=({as_file} $fpath); autoload -Uz compinit; compinit -u -d {as_file}/dump"),
    ];
    for (n, load) in load.iter().enumerate() {
        let mut terminal = Terminal::run(&home, "zsh -f -i");
        terminal.keys(&format!("{load}; echo read''y\n"));
        terminal.wait_for("ready\r\n", 1);
        terminal.keys("hermes() { printf '<%s>' \"$@\" }; c1() { printf '[%s]' \"$@\" }\n");
        terminal.keys("hermes -p op\tprofile sho\tcode\t\n");
        terminal.wait_for("<-p><ops><profile><show><coder>", 1);
        terminal.keys("hermes --profile=cod\tstatus\n");
        terminal.wait_for("<--profile=coder><status>", 1);
        terminal.keys(&format!("hermes profile import {}/my\t\n", home.user()));
        terminal.wait_for(&format!("<profile><import><{}/my archive.tar.gz>", home.user()), 1);
        terminal.keys("c1 gatew\tresta\t\n");
        terminal.wait_for("[gateway][restart]", 1);
        assert!(!terminal.screen().contains("command not found"), "{n}: {}", terminal.screen());
    }
}

#[test]
fn scripts_have_the_names_that_others_call() {
    let home = Home::empty();
    let script = |args: &[&str]| run(&home, args).ok();
    let bash = script(&["completion", "bash"]);
    assert_eq!(script(&["completion"]), bash, "bash where none is named");
    for name in ["_hermes_profiles()", "_hermes_completion()", "complete -F _hermes_completion hermes\n"] {
        assert!(bash.contains(name), "{name}");
    }
    let zsh = script(&["completion", "zsh"]);
    assert!(zsh.starts_with("#compdef hermes\n") && zsh.ends_with("\ncompdef _hermes hermes\n"));
    assert!(zsh.contains("\n_hermes() {\n"));
    let fish = script(&["completion", "fish"]);
    assert!(fish.contains("function __hermes_profiles\n") && fish.contains("\ncomplete -c hermes "));
    assert!(run(&home, &["completion", "ksh"]).fails(2).contains("possible values: bash, zsh, fish"));
}

#[test]
fn completion_never_complains_and_opens_no_configuration() {
    let home = home();
    home.write("default", "config.yaml", "model: [\n");
    fs_err::write(home.root().join("active_profile"), "gone\n").unwrap();
    let ran = run(&home, &["__complete", "bash", "2", "--", "hermes", "-p", ""]);
    assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (Some(0), "", "default\ncoder\nops\n"));
    let nowhere = Home::empty();
    fs_err::remove_dir(nowhere.root()).unwrap();
    assert_eq!(run(&nowhere, &["__complete", "profiles"]).ok(), "default\n");
    assert_eq!(run(&nowhere, &["__complete", "aliases"]).ok(), "");
}
