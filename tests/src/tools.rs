//! Programs from the distribution that a test drives. `tests/install-tools` installs them; a test installs nothing by itself.

use std::io::Write as _;
use std::path::Path;

use crate::gateway::build_directory;

/// Where a skipped test leaves its name: one line each, beside the programs under test. Whoever wants none skipped (`.ci/run`)
/// removes the file first and looks afterwards.
const SKIPPED: &str = "skipped-tests";

/// Whether `tool` (`zsh`, `fish`, `strace`, `bash-completion`) is there. If not, the test that asks is to return: what it needs was
/// said on the terminal and written down.
#[must_use = "the test returns where this is false"]
pub fn have(tool: &str) -> bool {
    let there = is_there(tool);
    if !there {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let line = format!("skipped {test}: it needs `{tool}`; tests/install-tools installs it\n");
        // Past the harness, which shows what a test prints only when it fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
        let record = build_directory().join(SKIPPED);
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(record).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    there
}

fn is_there(tool: &str) -> bool {
    if tool == "bash-completion" {
        return Path::new("/usr/share/bash-completion/bash_completion").exists();
    }
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists())
}
