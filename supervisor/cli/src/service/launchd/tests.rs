//! The state machine against a scripted `launchctl`: a real program that keeps jobs, with real processes.

use std::os::unix::fs::PermissionsExt as _;

use hermes_wire::RootHome;

use super::super::facts::{self, Times};
use super::super::{Manager, Unit};
use super::*;

const SCRIPT: &str = include_str!("../../../../../tests/src/launchctl.sh");
/// A program that does nothing, and ends well when it is asked to.
const PROGRAM: &str = "#!/bin/sh\ntrap 'kill $!; exit 0' TERM\nsleep 300 &\nwait\n";

struct Machine {
    dir: tempfile::TempDir,
    service: Service,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        for (name, text) in [("launchctl", SCRIPT), ("hermes", PROGRAM)] {
            fs_err::write(at.join(name), text).unwrap();
            fs_err::set_permissions(at.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs_err::write(at.join("session"), "Aqua\n").unwrap();
        let owner = Owner { root: RootHome::new(at.join("h")), profile: "default".parse().unwrap() };
        let times = Times { drain: Duration::from_secs(20), watchdog: None };
        let env = Surroundings { user_home: Some(at.clone()), ..Surroundings::bare() };
        let facts = facts::gather(owner.clone(), Manager::Launchd, None, times, &env).unwrap();
        let facts = facts::Facts { program: at.join("hermes"), ..facts };
        let text = facts.text("ai.hermes.gateway.plist", &env).unwrap();
        let name = "ai.hermes.gateway.plist".to_owned();
        let unit: Unit = plist::read(text.as_bytes(), &Surroundings::bare());
        assert_eq!(unit.owner.as_ref(), Some(&owner));
        let file = at.join(&name);
        fs_err::write(&file, text).unwrap();
        Self { dir, service: Service { manager: Manager::Launchd, name, file, unit } }
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.dir.path().join(file);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, text).unwrap();
    }

    fn jobs<T>(&self, what: impl FnOnce(&Jobs<'_>) -> T) -> T {
        let program = Program(Utf8PathBuf::from_path_buf(self.dir.path().join("launchctl")).unwrap());
        what(&Jobs { launchctl: &program, uid: 501, ready: &|_, _| true, start: Duration::from_secs(30) })
    }

    /// What changed anything since the last call.
    fn asked(&self) -> Vec<String> {
        let path = self.dir.path().join("asked");
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let _ = fs_err::remove_file(path);
        let own = self.service.file.as_str();
        let changes = text.lines().filter(|line| !line.starts_with("print") && *line != "managername");
        changes.map(|line| line.replace(own, "FILE")).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.jobs(|jobs| {
            for domain in ["gui/501", "user/501"] {
                let _ = jobs.launchctl.run(&["bootout", &format!("{domain}/ai.hermes.gateway")]);
            }
        });
    }
}

const TARGET: &str = "gui/501/ai.hermes.gateway";

#[test]
fn n5_5_a_job_is_loaded_started_restarted_and_unloaded() {
    let machine = Machine::new();
    let service = &machine.service;
    machine.jobs(|jobs| {
        let mut said = Vec::new();
        let before = jobs.state(service).unwrap();
        assert_eq!((before.phase, before.pid, before.enabled), (Phase::Inactive, None, true));
        jobs.bootstrap("gui/501", service).unwrap();
        let first = jobs.start(service, &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!((first.phase, first.restarts), (Phase::Active, 2));
        assert_eq!(machine.asked(), ["bootstrap gui/501 FILE"], "what runs is left alone");
        assert!(said.is_empty());

        let second = jobs.restart(service, &mut |line| said.push(line.to_owned())).unwrap();
        assert!(second.pid.is_some() && second.pid != first.pid);
        let mut asked = machine.asked();
        asked.dedup();
        assert_eq!(
            asked,
            [&format!("bootout {TARGET}"), "bootstrap gui/501 FILE", &format!("kickstart {TARGET}")]
        );

        let stopped = jobs.stop(service, &mut |_| {}).unwrap();
        assert_eq!((stopped.phase, stopped.pid), (Phase::Inactive, None));
        assert_eq!(machine.asked(), [format!("bootout {TARGET}")]);
        jobs.stop(service, &mut |_| {}).unwrap();
        machine.asked();

        said.clear();
        jobs.start(service, &mut |line| said.push(line.to_owned())).unwrap();
        assert_eq!(
            said,
            [
                "starting the launchd service ai.hermes.gateway",
                "↻ launchd job was unloaded; reloading service definition"
            ]
        );
        let kick = format!("kickstart {TARGET}");
        assert_eq!(machine.asked(), [kick.as_str(), "bootstrap gui/501 FILE", kick.as_str()]);
        jobs.remove(service).unwrap();
        assert!(!service.file.exists());
        assert_eq!(jobs.state(service).unwrap().phase, Phase::Inactive);
    });
}

/// Each of the codes that say "not here" is one to be repaired.
#[test]
fn a_job_that_is_not_loaded_is_known_by_three_codes() {
    for code in ["3", "113", "125"] {
        let machine = Machine::new();
        machine.write("fail-kickstart", &format!("{code}\n"));
        machine.jobs(|jobs| {
            let state = jobs.start(&machine.service, &mut |_| {}).unwrap();
            assert_eq!(state.phase, Phase::Active, "{code}");
        });
        assert_eq!(machine.asked().len(), 3, "{code}");
    }
}

#[test]
fn one_that_is_half_loaded_is_unloaded_and_loaded_once_more() {
    let machine = Machine::new();
    machine.write("fail-bootstrap", "5\n");
    machine.jobs(|jobs| jobs.bootstrap("gui/501", &machine.service).unwrap());
    let load = "bootstrap gui/501 FILE".to_owned();
    assert_eq!(machine.asked(), [load.clone(), format!("bootout {TARGET}"), load]);
}

/// N5.2: nothing is started in its place, and no success is reported.
#[test]
fn n5_2_a_domain_that_cannot_be_managed_is_an_error() {
    for code in ["5", "125"] {
        let machine = Machine::new();
        machine.write("fail-bootstrap", &format!("{code}\n{code}\n"));
        let error = machine.jobs(|jobs| jobs.start(&machine.service, &mut |_| {})).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("exit code {code}")) && text.contains("launchd cannot manage"),
            "{text}"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("hermes gateway run")), "{error:?}");
        assert_eq!(machine.jobs(|jobs| jobs.state(&machine.service).unwrap().pid), None);
    }
}

#[test]
fn the_domain_is_where_the_job_is_or_else_that_of_the_session() {
    let machine = Machine::new();
    let domain = || machine.jobs(|jobs| jobs.domain("ai.hermes.gateway").unwrap());
    assert_eq!(domain(), "gui/501");
    machine.write("session", "Background\n");
    assert_eq!(domain(), "user/501");
    machine.write("jobs/ai.hermes.gateway/domain", "gui/501\n");
    assert_eq!(domain(), "gui/501", "it is loaded there");
    machine.write("jobs/ai.hermes.gateway/domain", "user/501\n");
    machine.write("session", "Aqua\n");
    assert_eq!(domain(), "user/501");
}

#[test]
fn a_gateway_that_ends_by_itself_is_not_waited_for() {
    let machine = Machine::new();
    machine.write("jobs/ai.hermes.gateway/domain", "gui/501\n");
    machine.write("jobs/ai.hermes.gateway/code", "0\n");
    let program = Program(Utf8PathBuf::from_path_buf(machine.dir.path().join("launchctl")).unwrap());
    let jobs = Jobs { launchctl: &program, uid: 501, ready: &|_, _| false, start: Duration::ZERO };
    let error = jobs.running(&machine.service, None, "did not start").unwrap_err();
    assert!(error.to_string().starts_with("the launchd service ai.hermes.gateway did not start"), "{error}");
    assert!(error.hint().unwrap().contains("~/Library/Logs/ai.hermes.gateway.log"));
}

#[test]
fn a_job_follows_its_gateway() {
    let machine = Machine::new();
    let text = &machine.service.unit.text;
    let env = Surroundings { user_home: Some("/Users/ada".into()), ..Surroundings::bare() };
    let new = Owner { root: RootHome::new("/Users/ada/.hermes"), profile: "dev".parse().unwrap() };
    let text = renamed(text, &new, "ai.hermes.gateway-dev", &env).unwrap();
    assert_eq!(plist::read(text.as_bytes(), &env).owner, Some(new));
    assert!(text.contains("<string>/Users/ada/.hermes/profiles/dev</string>"), "{text}");
    assert!(text.contains("ai.hermes.gateway-dev.log"), "{text}");
}

#[test]
fn a_refused_configuration_ends_well_under_launchd_alone() {
    let code = |code, label: &str| of_job(code, Some(OsStr::new(label)));
    assert_eq!((code(78, "ai.hermes.gateway"), code(78, "ai.hermes.gateway-coder")), (0, 0));
    assert_eq!((code(75, "ai.hermes.gateway"), code(1, "ai.hermes.gateway")), (75, 1));
    // A terminal has this, too.
    assert_eq!((code(78, "0"), code(78, "com.apple.Terminal"), of_job(78, None)), (78, 78, 78));
}

#[test]
fn answers_of_launchctl() {
    let killed = read(
        "x = {\n\tstate = spawn scheduled\n\tlast terminating signal = Killed: 9\n\tlast exit code = (never exited)\n}\n",
        true,
    );
    assert_eq!((killed.phase, killed.exit), (Phase::Starting, Some(Exit::Signal(9))));
    let ended = read("x = {\n\tlast exit code = 78: EX_CONFIG\n\tstate = not running\n}\n", true);
    assert_eq!((ended.phase, ended.exit), (Phase::Inactive, Some(Exit::Code(78))));
    assert_eq!(read("garbage\n\t = \n\tpid = -1\n", true).pid, None);
}
