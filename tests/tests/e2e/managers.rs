//! The run files of `deploy/` under the real programs that supervise services where there is no systemd: runit, s6, OpenRC.
//!
//! Each starts the gateway, starts it again when it is killed, leaves it alone when its configuration cannot be used (exit 78), starts
//! it when asked to after that, and ends it in order.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::command::{Ran, outside};
use hermes_tests::gateway::{binary, hermes, status};
use hermes_tests::{Home, Running, process, tools, wait};
use nix::sys::signal::Signal;

/// `nobody` of Debian.
const NOBODY: u32 = 65_534;
const BROKEN: &str = "agent: [\n";

/// A copy of what `deploy/` has for a manager.
fn copied(home: &Home, files: &str) -> Utf8PathBuf {
    let from = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(files);
    let to = home.user().join("service").join(files.rsplit('/').next().unwrap());
    copy(&from, &to);
    to
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in from.read_dir_utf8().unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

/// A program with the environment of the home's commands.
fn tool(home: &Home, program: &str, args: &[&str]) -> Command {
    let mut command = outside(Utf8Path::new(program));
    command.args(args).env_clear().envs(hermes(home, &[]).get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn ran(home: &Home, program: &str, args: &[&str]) -> Ran {
    tool(home, program, args).output().unwrap().into()
}

/// The process of the gateway once everybody is ready, another one than `before`.
fn ready(home: &Home, before: Option<u32>) -> u32 {
    wait::until("the gateway to be ready", || {
        let gateway = status(home).gateway;
        let all = !gateway.stale && gateway.state == "running" && gateway.profiles_ready == 1;
        gateway.pid.filter(|pid| all && Some(*pid) != before)
    })
}

/// Kills it, breaks its file, mends it again: `is_down` says whether the manager has given up, `start` asks it to try.
fn through_its_life(home: &Home, is_down: impl Fn() -> bool, start: impl Fn()) {
    let first = ready(home, None);
    process::signal(first, Signal::SIGKILL);
    let second = ready(home, Some(first));

    let good = home.read("default", "config.yaml").unwrap();
    fs_err::write(home.root().join("config.yaml"), BROKEN).unwrap();
    process::signal(second, Signal::SIGKILL);
    wait::until_true("the manager to give up", &is_down);
    assert!(!runs(home));
    fs_err::write(home.root().join("config.yaml"), good).unwrap();
    start();
    ready(home, Some(second));
}

/// Processes of the program on this home.
fn processes(home: &Home) -> Vec<u32> {
    let is_ours = |pid: &u32| fs_err::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary());
    process::using(&home.root()).into_iter().filter(is_ours).collect()
}

fn runs(home: &Home) -> bool {
    !processes(home).is_empty()
}

/// A gateway is no child of a test's here; one whose test fails ends with it all the same.
struct Ends<'a>(&'a Home);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for pid in processes(self.0) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Down for good: between two attempts it says that it wants up.
fn is_down(status: &str) -> bool {
    status.starts_with("down: ") && !status.contains("want up")
}

#[test]
fn n5_6_runit_keeps_it_running_and_leaves_one_alone_that_cannot_start() {
    if !tools::have("runsv") {
        return;
    }
    let home = Home::new();
    let _ends = Ends(&home);
    let service = copied(&home, "runit/hermes-gateway");
    fs_err::write(service.join("conf"), format!("HERMES={}\n", binary().display())).unwrap();
    let mut runsv = Running(tool(&home, "runsv", &[service.as_str()]).spawn().unwrap());
    let sv = |verb: &str| ran(&home, "sv", &[verb, service.as_str()]).out;
    through_its_life(&home, || is_down(&sv("status")), || drop(sv("up")));
    sv("exit");
    let ended = wait::until("runsv to end", || runsv.0.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    wait::until_true("everything to end", || !runs(&home));
}

#[test]
fn n5_6_s6_keeps_it_running_and_leaves_one_alone_that_cannot_start() {
    if !tools::have("s6-supervise") {
        return;
    }
    let home = Home::new();
    let _ends = Ends(&home);
    let service = copied(&home, "s6/hermes-gateway");
    fs_err::write(service.join("conf"), format!("HERMES={}\n", binary().display())).unwrap();
    let mut supervise = Running(tool(&home, "s6-supervise", &[service.as_str()]).spawn().unwrap());
    let is_down = || ran(&home, "s6-svstat", &[service.as_str()]).out.starts_with("down (exitcode 78)");
    let control = |what: &str| drop(ran(&home, "s6-svc", &[what, service.as_str()]).ok());
    through_its_life(&home, is_down, || control("-u"));
    control("-xd");
    let ended = wait::until("s6-supervise to end", || supervise.0.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    wait::until_true("everything to end", || !runs(&home));
}

/// A mount namespace of the test's own in which OpenRC takes itself for the machine's manager.
struct OpenRc<'a> {
    home: &'a Home,
    script: Utf8PathBuf,
    namespace: Running,
}

impl<'a> OpenRc<'a> {
    const STATE: &'static str = "mount -t tmpfs tmpfs /run && cd /run && mkdir -p openrc && cd openrc && \
         mkdir daemons exclusive failed hotplugged inactive options scheduled started starting stopping wasinactive && \
         echo default > softlevel && echo ready && exec sleep infinity";

    fn new(home: &'a Home, script: Utf8PathBuf) -> std::io::Result<Self> {
        use std::io::{BufRead as _, BufReader};
        let mut command = tool(home, "unshare", &["--mount", "sh", "-c", Self::STATE]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
        let namespace = Running(child);
        if line != "ready\n" {
            return Err(std::io::Error::other("a mount namespace is refused"));
        }
        Ok(Self { home, script, namespace })
    }

    fn run(&self, verb: &str) -> Ran {
        let target = self.namespace.0.id().to_string();
        ran(self.home, "nsenter", &["-t", &target, "-m", self.script.as_str(), verb])
    }
}

impl Drop for OpenRc<'_> {
    fn drop(&mut self) {
        // It runs as nobody's child; without this a test that fails would leave it behind.
        self.run("stop");
    }
}

#[test]
fn n5_6_openrc_starts_it_as_its_user_and_refuses_what_cannot_start() {
    if !tools::have("openrc-run") || !tools::may_be_others() {
        return;
    }
    let home = Home::new();
    let _ends = Ends(&home);
    copied(&home, "openrc/conf.d");
    let script = copied(&home, "openrc/init.d").join("hermes-gateway");
    home.give_to(NOBODY);
    let conf = script.parent().unwrap().with_file_name("conf.d").join("hermes-gateway");
    let settings = |user: &str| {
        format!("HERMES={}\nHERMES_HOME={}\n{user}respawn_delay=1\n", binary().display(), home.root())
    };
    fs_err::write(&conf, settings("")).unwrap();
    let Some(rc) = tools::permitted("a mount namespace", OpenRc::new(&home, script)) else { return };
    let said = rc.run("start");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("say in /etc/conf.d/hermes-gateway whose gateway it is"), "{said:#?}");

    fs_err::write(&conf, settings("HERMES_USER=nobody\n")).unwrap();
    let good = home.read("default", "config.yaml").unwrap();
    fs_err::write(home.root().join("config.yaml"), BROKEN).unwrap();
    let said = rc.run("start");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("this says why: rc-service hermes-gateway check"), "{said:#?}");
    let check = rc.run("check");
    assert!(check.code != Some(0) && check.out.contains("would not start"), "{check:#?}");

    fs_err::write(home.root().join("config.yaml"), good).unwrap();
    rc.run("start").ok();
    let first = ready(&home, None);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(format!("/proc/{first}")).unwrap());
    assert!(owner == NOBODY || owner == 0, "a process that is not dumpable belongs to root");
    assert!(
        fs_err::read_to_string(format!("/proc/{first}/status"))
            .unwrap()
            .contains("Uid:\t65534\t65534\t65534")
    );
    rc.run("reload").ok();
    assert_eq!(ready(&home, None), first, "workers are replaced, the gateway stays");
    process::signal(first, Signal::SIGKILL);
    ready(&home, Some(first));
    rc.run("stop").ok();
    assert_eq!(status(&home).gateway.state, "stopped");
    wait::until_true("everything to end", || !runs(&home));
}
