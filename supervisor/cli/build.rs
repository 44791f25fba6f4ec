//! What `hermes --version` says beyond the release: commit, its date, target. Empty where there is no repository.

#![expect(clippy::disallowed_methods, reason = "a build script asks its environment and runs git")]

use std::process::Command;

fn main() {
    println!("cargo:rustc-env=HERMES_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    let commit = git(&["log", "-1", "--abbrev=10", "--format=%h %cs"]);
    println!("cargo:rustc-env=HERMES_COMMIT={}", commit.map(|it| format!(" ({it})")).unwrap_or_default());
    // Every commit, checkout and reset writes there.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
