//! The unit of a gateway: what stands in it, and why.
//!
//! Pure: what it is made from is found out before. Nothing in it is secret; keys come from the profile's `.env`.

use std::fmt::Write as _;

use camino::Utf8Path;

use super::super::Scope;
use super::super::facts::{Account, Facts};

/// The unit, without its mark.
pub(crate) fn body(facts: &Facts, name: &str) -> String {
    let home = facts.owner.root.profile(&facts.owner.profile);
    let mut out =
        head(facts, home.path(), name) + &process(facts, home.path()) + &life(facts) + &limits(facts);
    let target = match facts.manager.scope() {
        Scope::User => "default.target",
        Scope::System => "multi-user.target",
    };
    let _ = write!(out, "\n[Install]\nWantedBy={target}\n");
    out
}

fn head(facts: &Facts, home: &Utf8Path, name: &str) -> String {
    let profile = &facts.owner.profile;
    let whose = if profile.is_default() { String::new() } else { format!(", profile {profile}") };
    let (edit, network) = match facts.manager.scope() {
        Scope::User => (format!("systemctl --user edit {name}"), ""),
        Scope::System => (
            format!("sudo systemctl edit {name}"),
            "After=network-online.target\nWants=network-online.target\n",
        ),
    };
    format!(
        "# Written by `hermes gateway install`, which writes it again when it is out of date. Once changed by hand, it is left alone;\n\
         # changes that are to outlive an update belong into a drop-in: {edit}\n\
         [Unit]\n\
         Description=Hermes gateway ({}{whose})\n\
         {network}\
         # How often it is started again is no reason to give up: between two starts it waits as long as below.\n\
         StartLimitIntervalSec=0\n",
        specifiers(home.as_str()),
    )
}

fn process(facts: &Facts, home: &Utf8Path) -> String {
    let profile = &facts.owner.profile;
    // Joined for the root home: readers of command lines take a gateway with ` --profile ` for one of a named profile.
    let flag =
        if profile.is_default() { "--profile=default".to_owned() } else { format!("--profile {profile}") };
    let mut out = format!(
        "\n[Service]\n\
         # It says when it is ready, how many profiles are, when it reloads and when it stops; nobody else may say so for it.\n\
         Type=notify\n\
         NotifyAccess=main\n\
         # The profile is named, so that what is chosen by `hermes profile use` is nothing to it.\n\
         ExecStart={} {flag} gateway run\n\
         # The program on disk where that has changed, else the configuration: in place, the process id stays.\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         WorkingDirectory={}\n",
        argument(facts.program.as_str()),
        specifiers(home.as_str()),
    );
    if let Some(Account { name, group, home, .. }) = &facts.account {
        let _ = write!(
            out,
            "User={name}\nGroup={group}\n{}{}{}",
            variable("HOME", home.as_str()),
            variable("USER", name),
            variable("LOGNAME", name),
        );
    }
    out + &variable("PATH", &facts.search_path()) + &variable("HERMES_HOME", home.as_str())
}

fn life(facts: &Facts) -> String {
    let mut out = format!(
        "# It is always started again, but for an error of configuration (78), which a start does not mend; 75 asks for it.\n\
         Restart=always\n\
         # Always the same: a wait that grows (RestartSteps) never shrinks again, however long it ran well in between.\n\
         RestartSec=2\n\
         RestartForceExitStatus=75\n\
         RestartPreventExitStatus=78\n\
         # A start and a stop that take longer ask for more as long as they get on.\n\
         TimeoutStartSec=90\n\
         # What turns have to finish ({} s), the gateway's own escalation, and some more.\n\
         TimeoutStopSec={}\n\
         # It stops its workers itself, in order; what is left at the end is killed.\n\
         KillMode=mixed\n",
        facts.times.drain.as_secs(),
        facts.stop(),
    );
    if let Some(watchdog) = facts.times.watchdog {
        let _ = write!(
            out,
            "# A gateway whose main loop is stuck gives no sign of life, and is started again.\nWatchdogSec={}\n",
            watchdog.as_secs()
        );
    }
    out
}

fn limits(facts: &Facts) -> String {
    let mut out = "# Limits of single profiles (`gateway.limits`) are groups below this one.\n\
                   Delegate=yes\n\
                   # Many connections; workers and tools have the usual limit, with which old programs can count.\n\
                   LimitNOFILE=1024:524288\n\
                   # What it and its tools write is its user's alone.\n\
                   UMask=0077\n\
                   # No program that an agent starts gains rights: set-user-id programs (sudo, ping of old) do not work in its tools.\n\
                   NoNewPrivileges=yes\n\
                   RestrictRealtime=yes\n"
        .to_owned();
    match &facts.account {
        Some(account) if !account.is_root => out.push_str(
            "# Nothing of the system is changed from here. Left out, because tools would break: private /tmp and devices, system call\n\
             # filters, memory that may not be executed (JavaScript), namespaces, and all that masks parts of /proc or /sys, without which\n\
             # the fence around tools cannot be built.\n\
             ProtectSystem=full\n\
             ProtectKernelModules=yes\n\
             CapabilityBoundingSet=\n",
        ),
        _ => {}
    }
    out
}

/// `Environment="NAME=value"`.
fn variable(name: &str, value: &str) -> String {
    format!("Environment=\"{name}={}\"\n", quoted(&specifiers(value)))
}

/// A word of a command line.
fn argument(word: &str) -> String {
    let word = specifiers(word).replace('$', "$$");
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+:,%$".contains(&b));
    if plain { word } else { format!("\"{}\"", quoted(&word)) }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// The text as it is compared: the PATH is of the shell that called, and none of a unit's age.
pub(crate) fn comparable(body: &str) -> String {
    body.lines().filter(|line| !line.starts_with("Environment=\"PATH=")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hermes_wire::RootHome;

    use super::super::super::facts::Times;
    use super::super::super::unit::{Program, Unit};
    use super::super::super::{Manager, Owner};
    use super::*;
    use crate::home::Surroundings;

    fn facts() -> Facts {
        Facts {
            owner: Owner { root: RootHome::new("/home/ada/.hermes"), profile: "default".parse().unwrap() },
            manager: Manager::Systemd(Scope::User),
            program: "/home/ada/.cargo/bin/hermes".into(),
            account: None,
            path: vec!["/home/ada/.local/bin".into(), "/usr/bin".into()],
            times: Times { drain: Duration::from_secs(20), watchdog: Some(Duration::from_secs(60)) },
            on_login: true,
        }
    }

    fn account(name: &str) -> Account {
        Account {
            name: name.to_owned(),
            group: name.to_owned(),
            home: format!("/home/{name}").into(),
            is_root: name == "root",
        }
    }

    fn of_system(user: &str) -> Facts {
        Facts { manager: Manager::Systemd(Scope::System), account: Some(account(user)), ..facts() }
    }

    /// Every line of `text` that is no comment.
    fn lines(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    #[test]
    fn units() {
        let user = body(&facts(), "hermes-gateway.service");
        let expected = [
            "[Unit]",
            "Description=Hermes gateway (/home/ada/.hermes)",
            "StartLimitIntervalSec=0",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            "ExecStart=/home/ada/.cargo/bin/hermes --profile=default gateway run",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "WorkingDirectory=/home/ada/.hermes",
            "Environment=\"PATH=/home/ada/.cargo/bin:/home/ada/.local/bin:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin\"",
            "Environment=\"HERMES_HOME=/home/ada/.hermes\"",
            "Restart=always",
            "RestartSec=2",
            "RestartForceExitStatus=75",
            "RestartPreventExitStatus=78",
            "TimeoutStartSec=90",
            "TimeoutStopSec=50",
            "KillMode=mixed",
            "WatchdogSec=60",
            "Delegate=yes",
            "LimitNOFILE=1024:524288",
            "UMask=0077",
            "NoNewPrivileges=yes",
            "RestrictRealtime=yes",
            "[Install]",
            "WantedBy=default.target",
        ];
        assert_eq!(lines(&user), expected);

        let owner = Owner { profile: "coder".parse().unwrap(), ..facts().owner };
        let times = Times { watchdog: None, ..facts().times };
        let system = Facts { owner, times, ..of_system("ada") };
        let system = body(&system, "hermes-gateway-coder.service");
        let system = lines(&system);
        for line in [
            "Description=Hermes gateway (/home/ada/.hermes/profiles/coder, profile coder)",
            "After=network-online.target",
            "ExecStart=/home/ada/.cargo/bin/hermes --profile coder gateway run",
            "User=ada",
            "Group=ada",
            "Environment=\"HOME=/home/ada\"",
            "Environment=\"HERMES_HOME=/home/ada/.hermes/profiles/coder\"",
            "ProtectSystem=full",
            "CapabilityBoundingSet=",
            "WantedBy=multi-user.target",
        ] {
            assert!(system.contains(&line), "{line} is not in {system:#?}");
        }
        assert!(!system.iter().any(|line| line.starts_with("WatchdogSec")));
        let root = body(&of_system("root"), "x");
        assert!(!root.contains("CapabilityBoundingSet") && root.contains("User=root"));
    }

    /// N2.7: the manager never kills before the gateway's own deadlines are over.
    #[test]
    fn n2_7_the_stop_timeout_follows_the_drain_time() {
        let stop = |drain| {
            let text = body(
                &Facts { times: Times { drain: Duration::from_secs(drain), watchdog: None }, ..facts() },
                "x",
            );
            text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().to_owned()
        };
        assert_eq!(stop(0), "30");
        assert_eq!(stop(180), "210");
    }

    /// Whatever a path has in it, the unit starts that program for that home, and what it says is read back.
    #[test]
    fn odd_names_are_written_so_that_they_are_read_back() {
        let env = Surroundings { user_home: Some("/home/ada".into()), ..Surroundings::bare() };
        for odd in ["a b", "100%", "q\"q", "back\\slash", "it's", "do$lar", "ünï", "%h"] {
            let owner = Owner {
                root: RootHome::new(format!("/home/ada/{odd}")),
                profile: "default".parse().unwrap(),
            };
            let facts =
                Facts { owner: owner.clone(), program: format!("/opt/{odd}/hermes").into(), ..facts() };
            let unit = Unit::read(facts.text("x", &env).unwrap(), &env);
            assert_eq!(unit.owner, Some(owner), "{}", unit.text);
            assert_eq!(unit.program, Program::Hermes);
        }
        let odd = Facts { program: "/opt/a\nExecStart=/bin/sh".into(), ..facts() };
        assert!(odd.text("x", &env).is_err());
    }

    #[test]
    fn another_shell_makes_no_unit_old() {
        let (one, two) = (facts(), Facts { path: vec!["/opt/node/bin".into()], ..facts() });
        let [one, two] = [one, two].map(|facts| body(&facts, "x"));
        assert!(one != two && comparable(&one) == comparable(&two));
    }
}
