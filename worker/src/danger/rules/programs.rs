//! What programs do by their names and words: those that run others, and those that change the machine.

use super::super::Danger;
use super::super::words::{UNKNOWN, Word};
use super::{has, operands};

/// Variables that make programs load or run something.
pub(super) const LOADED: [&str; 14] = [
    "BASH_ENV",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "ENV",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "IFS",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PYTHONSTARTUP",
];

/// Whether a program gives what it runs another user's rights, or another root.
pub(super) fn takes_rights(program: &str) -> bool {
    matches!(
        program,
        "sudo"
            | "sudoedit"
            | "doas"
            | "su"
            | "pkexec"
            | "runuser"
            | "setpriv"
            | "chroot"
            | "nsenter"
            | "unshare"
            | "gosu"
            | "capsh"
    )
}

/// The program that another one runs, with its arguments; none where it runs none.
pub(super) fn behind(program: &str, arguments: &[Word]) -> Option<Vec<Word>> {
    // Options with a value of their own, and what stands in front of the program.
    let (valued, skipped): (&[&str], usize) = match program {
        "sudo" | "doas" | "pkexec" | "gosu" => (
            &["-u", "-g", "-h", "-p", "-C", "-T", "-D", "-R", "-U", "-r", "-t", "--user", "--group"],
            usize::from(program == "gosu"),
        ),
        "env" => (&["-u", "-C", "--unset", "--chdir"], 0),
        "nohup" | "setsid" | "builtin" | "busybox" | "toybox" | "time" | "unbuffer" | "caffeinate"
        | "then" | "else" | "do" | "!" => (&["-f", "-o"], 0),
        "command" if has(arguments, "vV", &[]) => return None,
        "command" | "exec" => (&["-a"], 0),
        "nice" | "stdbuf" | "ionice" | "watch" | "chrt" => (
            &["-n", "-c", "-o", "-i", "-e", "-p", "--interval", "--adjustment"],
            usize::from(program == "chrt"),
        ),
        "timeout" | "taskset" | "flock" | "chroot" => (&["-k", "-s", "--kill-after", "--signal", "-w"], 1),
        "xargs" | "parallel" => (
            &[
                "-I",
                "-n",
                "-P",
                "-L",
                "-d",
                "-s",
                "-E",
                "-a",
                "-j",
                "--max-args",
                "--max-procs",
                "--arg-file",
                "--delimiter",
            ],
            0,
        ),
        "strace" | "ltrace" | "perf" => (&["-e", "-o", "-p", "-s"], 0),
        "unshare" | "nsenter" | "setpriv" | "systemd-run" => {
            (&["-t", "-p", "-u", "--unit", "--target", "--property"], 0)
        }
        _ => return None,
    };
    let mut rest = arguments;
    let mut skipped = skipped;
    while let [word, more @ ..] = rest {
        let text = word.text.as_str();
        if text == "--" {
            rest = more;
            break;
        } else if valued.contains(&text) {
            rest = more.get(1..).unwrap_or_default();
        } else if text.starts_with('-') && text.len() > 1 || is_assignment(text) {
            rest = more;
        } else if skipped > 0 {
            skipped -= 1;
            rest = more;
        } else {
            break;
        }
    }
    if rest.is_empty() {
        return None;
    }
    let mut inner = rest.to_vec();
    if matches!(program, "xargs" | "parallel") {
        // What it is fed.
        inner.push(Word { text: UNKNOWN.to_string(), ..Word::default() });
    }
    Some(inner)
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(char::is_numeric)
    })
}

/// The command that `ssh` runs over there.
pub(super) fn of_ssh(arguments: &[Word]) -> Option<String> {
    const VALUED: [&str; 19] = [
        "-b", "-c", "-D", "-E", "-e", "-F", "-I", "-i", "-J", "-L", "-l", "-m", "-O", "-o", "-p", "-Q", "-R",
        "-S", "-W",
    ];
    let mut rest = arguments;
    while let [word, more @ ..] = rest {
        if VALUED.contains(&word.text.as_str()) {
            rest = more.get(1..).unwrap_or_default();
        } else if word.text.starts_with('-') {
            rest = more;
        } else {
            rest = more;
            break;
        }
    }
    let words: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What a program is known for.
pub(super) fn judge(program: &str, arguments: &[Word]) -> Option<Danger> {
    let first = operands(arguments).next().map_or("", |word| word.text.as_str());
    let second = operands(arguments).nth(1).map_or("", |word| word.text.as_str());
    by_name(program)
        .or_else(|| of_machine(program, arguments, (first, second)))
        .or_else(|| of_work(program, arguments, (first, second)))
}

/// Whatever it is told.
fn by_name(program: &str) -> Option<Danger> {
    Some(match program {
        name if name.starts_with("mkfs") => Danger::Device,
        "mkswap" | "wipefs" | "blkdiscard" | "hdparm" | "cryptsetup" | "dmsetup" | "mdadm" | "lvremove"
        | "vgremove" | "pvremove" | "zpool" | "badblocks" | "fsck" => Danger::Device,
        "shutdown" | "reboot" | "poweroff" | "halt" => Danger::Shutdown,
        "sudo" | "sudoedit" | "doas" | "su" | "pkexec" | "runuser" | "setpriv" | "chroot" | "nsenter"
        | "unshare" | "visudo" | "setcap" | "newgrp" | "gdb" | "useradd" | "userdel" | "usermod"
        | "adduser" | "deluser" | "groupadd" | "groupdel" | "passwd" | "chpasswd" | "chsh" => {
            Danger::Privileges
        }
        "pkill" | "killall" | "killall5" | "xkill" | "skill" => Danger::Kill,
        "at" | "batch" | "systemd-run" | "loginctl" | "update-rc.d" | "chkconfig" => Danger::Services,
        "ngrok" | "cloudflared" | "localtunnel" => Danger::RemoteShell,
        "umount" | "swapoff" | "swapon" | "insmod" | "rmmod" | "modprobe" | "iptables" | "ip6tables"
        | "nft" | "ufw" | "firewall-cmd" | "pfctl" | "kexec" | "losetup" => Danger::Machine,
        _ => return None,
    })
}

/// What systemd only shows.
const SHOWS: [&str; 10] = [
    "status",
    "list-units",
    "list-unit-files",
    "is-active",
    "is-enabled",
    "is-failed",
    "show",
    "cat",
    "list-timers",
    "",
];
/// What stops the machine by it.
const STOPS: [&str; 8] =
    ["poweroff", "reboot", "halt", "kexec", "suspend", "hibernate", "rescue", "emergency"];
/// What changes packages.
const PACKAGES: [&str; 13] = [
    "install",
    "remove",
    "purge",
    "autoremove",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "add",
    "del",
    "erase",
    "reinstall",
    "uninstall",
    "update",
];

/// Programs that are for the machine, by what they are told.
fn of_machine(program: &str, arguments: &[Word], (first, second): (&str, &str)) -> Option<Danger> {
    let (is_one, danger) = match program {
        "fdisk" | "sfdisk" | "cfdisk" | "gdisk" | "sgdisk" | "parted" => {
            (!has(arguments, "l", &["list"]), Danger::Device)
        }
        "diskutil" => (first.starts_with("erase") || first == "partitionDisk", Danger::Device),
        "init" | "telinit" => (["0", "6"].contains(&first), Danger::Shutdown),
        "kill" => (!is_harmless_kill(arguments), Danger::Kill),
        "fuser" => (has(arguments, "k", &["kill"]), Danger::Kill),
        "systemctl" if STOPS.contains(&first) => (true, Danger::Shutdown),
        "systemctl" => (!SHOWS.contains(&first), Danger::Services),
        "service" => (!["status", ""].contains(&second), Danger::Services),
        "launchctl" => (!["list", "print", ""].contains(&first), Danger::Services),
        "crontab" => (arguments.iter().all(|word| word.text != "-l"), Danger::Services),
        "apt" | "apt-get" | "aptitude" | "yum" | "dnf" | "zypper" | "apk" | "snap" | "flatpak" | "port"
        | "brew" => (PACKAGES.contains(&first), Danger::Packages),
        "pacman" => {
            let changes = |word: &Word| ["-S", "-R", "-U"].iter().any(|option| word.starts_with(option));
            (arguments.iter().any(changes), Danger::Packages)
        }
        "dpkg" | "rpm" => {
            (has(arguments, "irPUeF", &["install", "remove", "purge", "erase", "upgrade"]), Danger::Packages)
        }
        "mount" => (!first.is_empty(), Danger::Machine),
        "sysctl" => {
            (has(arguments, "wp", &["write", "load", "system"]) || first.contains('='), Danger::Machine)
        }
        "hostnamectl" | "timedatectl" => (first.starts_with("set"), Danger::Machine),
        "env" => (has(arguments, "S", &["split-string"]), Danger::Unknown),
        "script" => (has(arguments, "c", &["command"]), Danger::Unknown),
        "history" => (has(arguments, "c", &[]), Danger::Environment),
        _ => return None,
    };
    is_one.then_some(danger)
}

/// Programs that work for people elsewhere, by what they are told.
fn of_work(program: &str, arguments: &[Word], (first, second): (&str, &str)) -> Option<Danger> {
    let any = |words: &[&str]| arguments.iter().any(|word| words.contains(&word.text.as_str()));
    let (is_one, danger) = match program {
        "docker" | "podman" | "nerdctl" => return containers(arguments, first, second),
        "docker-compose" => {
            (any(&["down", "rm"]) && has(arguments, "v", &["volumes"]), Danger::Infrastructure)
        }
        "kubectl" | "oc" => {
            (["delete", "drain", "cordon", "replace", "scale"].contains(&first), Danger::Infrastructure)
        }
        "helm" => (["uninstall", "delete", "rollback"].contains(&first), Danger::Infrastructure),
        "terraform" | "tofu" | "pulumi" => {
            (["destroy", "apply", "up"].contains(&first), Danger::Infrastructure)
        }
        "aws" | "gcloud" | "az" | "doctl" | "flyctl" | "heroku" => {
            let deletes = |word: &Word| {
                let text = &word.text;
                ["delete", "terminate", "destroy", "rm", "rb", "remove", "purge"]
                    .iter()
                    .any(|verb| text == verb || text.starts_with(&format!("{verb}-")))
            };
            (arguments.iter().any(deletes), Danger::Infrastructure)
        }
        "npm" | "yarn" | "pnpm" => (["publish", "unpublish", "deprecate"].contains(&first), Danger::Publish),
        "cargo" => (["publish", "yank"].contains(&first), Danger::Publish),
        "twine" => (first == "upload", Danger::Publish),
        "gem" => (["push", "yank"].contains(&first), Danger::Publish),
        "gh" => {
            let changes = ["delete", "merge", "create", "edit"].contains(&second);
            (changes && ["repo", "release", "secret", "gist"].contains(&first), Danger::Publish)
        }
        "nc" | "ncat" | "netcat" => {
            (has(arguments, "ec", &["exec", "sh-exec", "lua-exec"]), Danger::RemoteShell)
        }
        "socat" => {
            let runs = |word: &Word| word.text.to_ascii_lowercase().contains("exec");
            (arguments.iter().any(runs), Danger::RemoteShell)
        }
        "hermes" => (changes_gateway(first, second), Danger::Gateway),
        _ => return None,
    };
    is_one.then_some(danger)
}

fn containers(arguments: &[Word], first: &str, second: &str) -> Option<Danger> {
    let opens = |word: &Word| {
        word.text == "--privileged"
            || word.text.contains("docker.sock")
            || word.text.starts_with("--pid=host")
            || word.text == "/:/"
            || word.text.starts_with("/:")
            || word.text.starts_with("--cap-add")
    };
    if arguments.iter().any(opens) {
        return Some(Danger::Infrastructure);
    }
    let is_grouped = ["system", "volume", "container", "image", "network", "builder"].contains(&first);
    let deletes = ["rm", "rmi", "prune", "kill", "stop"].contains(&first)
        || is_grouped && ["rm", "prune", "kill", "stop"].contains(&second)
        || first == "compose"
            && operands(arguments).any(|word| word.text == "down")
            && has(arguments, "v", &["volumes"])
        || first == "push";
    deletes.then_some(if first == "push" { Danger::Publish } else { Danger::Infrastructure })
}

/// `kill %1`, `kill -0 123`, `kill -l`; what the script itself started is in `$!`, which nobody knows before.
fn is_harmless_kill(arguments: &[Word]) -> bool {
    if arguments.iter().any(|word| matches!(word.text.as_str(), "-0" | "-l" | "-L" | "--list")) {
        return true;
    }
    let mut targets = operands(arguments).peekable();
    targets.peek().is_some() && targets.all(|word| word.text.starts_with('%'))
}

fn changes_gateway(first: &str, second: &str) -> bool {
    match first {
        "gateway" => !["status", "check", ""].contains(&second),
        "profile" => !["list", "show", "info", ""].contains(&second),
        "config" => !["show", "path", "check", "docs", "schema", "get", ""].contains(&second),
        "status" | "logs" | "doctor" | "top" | "version" | "help" | "sessions" | "memory" | "man" | "" => {
            false
        }
        "skills" | "tools" | "mcp" | "model" => !["list", "show", "test", ""].contains(&second),
        _ => true,
    }
}

/// Whether a program works with a database.
pub(super) fn is_database(program: &str) -> bool {
    matches!(
        program,
        "psql"
            | "mysql"
            | "mariadb"
            | "sqlite3"
            | "sqlcmd"
            | "clickhouse-client"
            | "cockroach"
            | "duckdb"
            | "mongosh"
            | "mongo"
            | "redis-cli"
            | "cqlsh"
            | "bq"
    )
}

/// Whether a text tells a database to delete much: by its words, as no parser knows every dialect.
pub(super) fn deletes_rows(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let follows =
        |first: &str, next: &[&str]| words.windows(2).any(|pair| pair[0] == first && next.contains(&pair[1]));
    let mut statements = upper.split(';');
    follows("DROP", &["TABLE", "DATABASE", "SCHEMA", "INDEX", "VIEW", "USER", "ROLE", "COLUMN", "COLLECTION"])
        || words.contains(&"TRUNCATE")
        || words.iter().any(|word| matches!(*word, "FLUSHALL" | "FLUSHDB" | "DROPDATABASE" | "DELETEMANY"))
        || statements.any(|statement| {
            let is_all = statement.contains("DELETE") && statement.contains("FROM")
                || statement.trim_start().starts_with("UPDATE ");
            is_all && !statement.contains("WHERE")
        })
}

/// Words that code of any language may hold and does no harm by.
const HARMLESS: [&str; 61] = [
    "and",
    "as",
    "console",
    "const",
    "def",
    "dict",
    "dumps",
    "elif",
    "else",
    "end",
    "enumerate",
    "false",
    "False",
    "float",
    "for",
    "from",
    "if",
    "import",
    "in",
    "indent",
    "int",
    "is",
    "items",
    "join",
    "json",
    "JSON",
    "keys",
    "lambda",
    "len",
    "let",
    "list",
    "load",
    "loads",
    "log",
    "math",
    "max",
    "min",
    "None",
    "not",
    "null",
    "or",
    "parse",
    "print",
    "puts",
    "range",
    "re",
    "reversed",
    "round",
    "say",
    "set",
    "sorted",
    "split",
    "sqrt",
    "stdin",
    "str",
    "stringify",
    "strip",
    "sum",
    "sys",
    "true",
    "True",
];

/// Whether every name in a piece of code is known to do no harm.
pub(super) fn is_harmless_code(code: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.len() <= 2000
        && code.is_ascii()
        && !code.contains(['`', '\\'])
        && code
            .split(|c| !is_name(c))
            .filter(|name| name.chars().next().is_some_and(|c| !c.is_ascii_digit()))
            .all(|name| name.len() == 1 || HARMLESS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_program_is_found() {
        let words = |text: &str| text.split(' ').map(Word::of).collect::<Vec<_>>();
        for (text, expected) in [
            ("sudo -u x rm a", Some("rm a")),
            ("env -i A=1 B=2 rm a", Some("rm a")),
            ("timeout -k 5 10 rm a", Some("rm a")),
            ("nice -n 5 rm a", Some("rm a")),
            ("nohup rm a", Some("rm a")),
            ("command -v rm", None),
            ("env", None),
            ("ls a", None),
        ] {
            let words = words(text);
            let inner = behind(super::super::base(&words[0]), &words[1..]);
            let inner =
                inner.map(|inner| inner.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join(" "));
            assert_eq!(inner.as_deref(), expected, "{text}");
        }
        assert_eq!(behind("xargs", &words("-n 1 rm")).unwrap().len(), 2);
    }

    #[test]
    fn code_is_harmless_if_all_its_words_are() {
        for harmless in [
            "print(1 + 2)",
            "import sys, json; print(json.dumps(json.load(sys.stdin), indent=2))",
            "console.log(2**10)",
        ] {
            assert!(is_harmless_code(harmless), "{harmless}");
        }
        for other in ["import os; os.remove('x')", "__import__('os')", "eval('1')", "open('f').read()"] {
            assert!(!is_harmless_code(other), "{other}");
        }
    }
}
