//! Programs from the distribution that a test drives.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

/// Makes sure that `tool` (`zsh`, `fish`, `strace`, `bash-completion`) is there: `tests/install-tools` is run once if it is not.
/// Panics with what to do when it is still missing afterwards; a test is never skipped silently.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the harness runs its own script")]
pub fn need(tool: &str) {
    static SAID: OnceLock<String> = OnceLock::new();
    if is_there(tool) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install-tools");
    let said = SAID.get_or_init(|| {
        let output = std::process::Command::new(&script).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    });
    assert!(is_there(tool), "this test needs `{tool}`: {said}");
}

fn is_there(tool: &str) -> bool {
    if tool == "bash-completion" {
        return Path::new("/usr/share/bash-completion/bash_completion").exists();
    }
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists())
}
