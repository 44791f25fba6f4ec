//! What a profile starts sees nothing of other profiles, of the gateway and of its own worker: behind each rung of the fence, as root and as an
//! ordinary user; and what is said of it is what holds.

mod children;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use hermes_tests::{Gateway, Home, home, process, tools, wait};
use hermes_wire::contract::runtime_status::FenceStatus;

/// An ordinary user that every machine has.
const NOBODY: u32 = 65_534;
/// Assembled at run time, so that this test's own binary is no carrier.
fn canary(name: &str) -> String {
    format!("canary-{}-{}", name, "91d3be07c2")
}

/// Tries everything on the list of paths beside it and writes down what it could do.
const PROBE: &str = r#"
import json, os, socket, tempfile
here = os.path.dirname(os.path.abspath(__file__))
said = {"read": [], "seen": [], "connected": [], "wrote": [], "env": sorted(os.environ), "fds": []}
for path in open(os.path.join(here, "paths")).read().split("\n"):
    if not path:
        continue
    if os.path.lexists(path):
        said["seen"].append(path)
    try:
        with open(path, "rb") as file:
            file.read(1) if not path.endswith("/mem") else None
            said["read"].append(path)
    except OSError:
        pass
    try:
        if path.endswith("/fd"):
            os.readlink(path + "/0")
            said["read"].append(path)
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            said["connected"].append(path)
    except OSError:
        pass
for place in open(os.path.join(here, "places")).read().split("\n"):
    if not place:
        continue
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
        said["wrote"].append(place)
    except OSError:
        pass
listing = os.open("/proc/self/fd", os.O_RDONLY)
said["fds"] = sorted(int(n) for n in os.listdir("/proc/self/fd") if int(n) != listing and os.path.lexists("/proc/self/fd/" + n))
said["user"] = os.getuid()
with open(os.path.join(here, "said"), "w") as file:
    json.dump(said, file)
print(json.dumps({"text": "looked"}))
"#;

/// A gateway's home with secrets in three profiles, and a route of each that runs the script.
fn furnished(fence: &str) -> Home {
    let config = Home::config("true", "").replace(
        "hook: {prompt: 'say {text}'}",
        "hook: {prompt: 'say {text}'}\n        look: {prompt: 'x', script: look.py}",
    );
    let home = Home::with_config(&format!("{config}terminal: {{fence: {fence}}}\n"));
    for name in ["coder", "ops"] {
        let routes = "{look: {prompt: 'x', script: look.py}}";
        let webhook =
            format!("platforms: {{webhook: {{extra: {{secret: {}, routes: {routes}}}}}}}", home::SECRET);
        home.profile_with(
            name,
            &format!("agent: {{engine: echo}}\n{webhook}\nterminal: {{fence: {fence}}}\n"),
            &format!("API_SERVER_KEY={}\nOPENAI_API_KEY={}\n", Home::key(name), canary(name)),
        );
    }
    for name in ["default", "coder", "ops"] {
        home.write(name, "auth.json", &format!("{{\"token\": \"{}\"}}", canary(name)));
        home.write(name, "mcp-tokens/x.json", &canary(name));
        home.write(name, "workspace/notes", "mine");
        home.write(name, "skills/s/SKILL.md", "---\nname: s\n---\n");
        home.write(name, "home/.profile", "");
        home.write(name, "scripts/look.py", PROBE);
    }
    home
}

/// What nobody's programs may see, of the profiles named and of the processes.
fn forbidden(home: &Home, profiles: &[&str], processes: &[u32]) -> Vec<String> {
    let files = [".env", "auth.json", "config.yaml", "state.db", "mcp-tokens/x.json"];
    let mut paths: Vec<String> =
        profiles.iter().flat_map(|name| files.map(|file| home.of(name).join(file).to_string())).collect();
    for pid in processes {
        paths.extend(["environ", "mem", "fd", "maps"].map(|name| format!("/proc/{pid}/{name}")));
    }
    paths.extend(sockets(home));
    paths
}

fn sockets(home: &Home) -> Vec<String> {
    let dirs = fs_err::read_dir(home.runtime().join("hermes")).into_iter().flatten().flatten();
    let names = dirs.flat_map(|dir| fs_err::read_dir(dir.path()).unwrap().flatten().collect::<Vec<_>>());
    names.map(|entry| entry.path().to_str().unwrap().to_owned()).collect()
}

/// What the script of a profile could do.
fn looked(gateway: &Gateway, name: &str, paths: &[String]) -> serde_json::Value {
    let home = gateway.home;
    let scripts = home.of(name).join("scripts");
    let said = scripts.join("said");
    drop(fs_err::remove_file(&said));
    fs_err::write(scripts.join("paths"), paths.join("\n")).unwrap();
    let places =
        ["workspace", "home", "skills", "", "sessions"].map(|dir| home.of(name).join(dir).to_string());
    fs_err::write(scripts.join("places"), format!("{}\n/tmp", places.join("\n"))).unwrap();
    let path =
        if name == "default" { "/webhooks/look".to_owned() } else { format!("/p/{name}/webhooks/look") };
    let answer = gateway.hook(&path, home::SECRET, &format!("{name}-1"), "{}");
    assert_eq!(answer.status, 202, "{}\n{}", answer.text(), gateway.output());
    let text = wait::until("what the script says", || {
        fs_err::read_to_string(&said).ok().filter(|text| text.ends_with('}'))
    });
    serde_json::from_str(&text).unwrap()
}

fn list(said: &serde_json::Value, key: &str) -> Vec<String> {
    said[key].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn fence(gateway: &Gateway, name: &str) -> FenceStatus {
    wait::until("the status to say what is in force", || {
        gateway.profile(name).fence.filter(|fence| fence.rung.is_some())
    })
}

/// Everything that must hold of a gateway whose programs are fenced in by namespaces.
fn nothing_is_seen(home: &Home) {
    let gateway = Gateway::start(home);
    assert_eq!(gateway.profile("coder").fence.unwrap().rung, None, "nothing was tried yet");
    let names = ["default", "coder", "ops"];
    let processes: Vec<u32> = names.iter().map(|name| gateway.worker(name)).chain([gateway.pid()]).collect();
    for name in ["coder", "default"] {
        let paths = forbidden(home, &names, &processes);
        assert!(paths.iter().any(|path| path.ends_with("supervisor.sock")), "{paths:?}");
        let said = looked(&gateway, name, &paths);
        for key in ["read", "connected"] {
            assert_eq!(list(&said, key), [""; 0], "{name} {key}");
        }
        // A process's files are there, and say nothing.
        let seen: Vec<String> =
            list(&said, "seen").into_iter().filter(|path| !path.starts_with("/proc/")).collect();
        assert_eq!(seen, [""; 0], "{name}");
        let wrote: Vec<String> =
            ["workspace", "home", "skills"].map(|dir| home.of(name).join(dir).to_string()).to_vec();
        assert_eq!(list(&said, "wrote"), [wrote, vec!["/tmp".to_owned()]].concat(), "{name}");
        assert_eq!(said["fds"], serde_json::json!([0, 1, 2]), "{name}");
        let status = fence(&gateway, name);
        assert!(matches!(status.rung.as_deref(), Some("namespaces" | "bubblewrap")), "{status:?}");
        assert_eq!(status.notes, [""; 0]);
        let shown = hermes_tests::gateway::both(&hermes_tests::gateway::run(home, &["status", "-p", name]));
        assert!(shown.contains(&format!("{} (auto)", status.rung.unwrap())), "{shown}");
    }
    let doctor = hermes_tests::gateway::both(&hermes_tests::gateway::run(home, &["doctor"]));
    assert!(doctor.contains("programs that it starts are fenced in"), "{doctor}");
}

/// Whether this machine lets anybody have namespaces; if not, the test is to return.
fn may_have_namespaces() -> bool {
    let mut command = command("unshare");
    command.args(["-Urm", "true"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    if !output.status.success() {
        tools::say(&format!("it needs user namespaces: {}", String::from_utf8_lossy(&output.stderr)));
    }
    output.status.success()
}

#[expect(clippy::disallowed_methods, reason = "drives programs of the machine")]
fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_script_sees_nothing_of_others_and_works_in_its_own() {
    if may_have_namespaces() {
        nothing_is_seen(&furnished("auto"));
    }
}

#[test]
fn nor_does_one_of_an_ordinary_user() {
    if !tools::may_be_others() || !may_have_namespaces() {
        return;
    }
    let home = furnished("auto");
    home.give_to(NOBODY);
    nothing_is_seen(&home);
}

/// Each rung by itself, as root and as an ordinary user: it tries from inside what it is there against.
#[test]
fn every_rung_holds_or_says_why_not() {
    if !may_have_namespaces() {
        return;
    }
    for user in [None, Some(NOBODY)] {
        let home = furnished("auto");
        if let Some(user) = user {
            if !tools::may_be_others() {
                return;
            }
            home.give_to(user);
        }
        let gateway = Gateway::start(&home);
        for rung in ["namespaces", "bubblewrap", "landlock"] {
            if rung == "bubblewrap" && !tools::have("bwrap") {
                continue;
            }
            for name in ["default", "coder"] {
                let args = ["worker", &format!("--try-fence={rung}"), "-p", name];
                let output = hermes_tests::gateway::run(&home, &args);
                let fence: FenceStatus = serde_json::from_slice(&output.stdout)
                    .unwrap_or_else(|_| panic!("{}", hermes_tests::gateway::both(&output)));
                let reason = fence.reason.clone().unwrap_or_default();
                if rung == "landlock" && reason.contains("Landlock") {
                    tools::say(&format!("its part about Landlock needs that: {reason}"));
                    continue;
                }
                assert_eq!(fence.rung.as_deref(), Some(rung), "{user:?} {name}: {fence:?}");
                let allowed = if rung == "landlock" { "sockets" } else { "nothing" };
                assert!(fence.notes.iter().all(|note| note.contains(allowed)), "{fence:?}");
            }
        }
        drop(gateway);
    }
}

/// What becomes of a program behind each rung: its number, its exit, its signals, its variables and its directory are its own.
#[test]
fn a_program_behind_the_fence_is_itself() {
    if !may_have_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (secret, kept) = (place.path().join("secret"), place.path().join("secret/kept"));
    fs_err::create_dir_all(&kept).unwrap();
    fs_err::write(secret.join("key"), "x").unwrap();
    let (secret, kept) = (secret.to_str().unwrap(), kept.to_str().unwrap());
    for rung in ["namespaces", "bubblewrap", "landlock"] {
        if rung == "bubblewrap" && !tools::have("bwrap") {
            continue;
        }
        let behind = |script: &str| {
            let mut command = command(hermes_tests::gateway::binary().to_str().unwrap());
            command.args([
                "__fence", rung, kept, "empty", secret, "keep", kept, "seal", secret, "--", "/bin/sh", "-c",
            ]);
            command.arg(script).env_clear().env("PATH", "/usr/bin:/bin").env("HERMES_FENCE_ASIDE_LD_X", "1");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
            command
        };
        let said = |script: &str| {
            let output = behind(script).output().unwrap();
            let text = hermes_tests::gateway::both(&output);
            (output.status.code(), text.trim().to_owned())
        };
        let first = said("echo here");
        if rung == "landlock" && first.1.contains("Landlock") {
            tools::say(&format!("its part about Landlock needs that: {}", first.1));
            continue;
        }
        assert_eq!(first, (Some(0), "here".to_owned()), "{rung}");
        assert_eq!(said("pwd; exit 7"), (Some(7), kept.to_owned()), "{rung}");
        assert_eq!(said(&format!("cat {secret}/key 2>/dev/null || echo none")).1, "none", "{rung}");
        assert_eq!(said("echo $LD_X; touch new && rm new && echo can write").1, "1\ncan write", "{rung}");
        assert_eq!(said("ls /proc/self/fd | wc -l").1, "4", "{rung}");
        // Whatever rights it gives itself, what is covered stays so.
        let undone =
            said(&format!("unshare -Urm sh -c 'umount {secret}; cat {secret}/key' 2>/dev/null || echo none"))
                .1;
        assert_eq!(undone, "none", "{rung}");
        assert_eq!(
            said(&format!("umount {secret} 2>/dev/null; cat {secret}/key 2>/dev/null || echo none")).1,
            "none",
            "{rung}"
        );
        // SIGTERM is the program's to answer, and whoever waits hears how it ended.
        let mut child = behind("trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
            .spawn()
            .unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(child.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{rung}");
        line.clear();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "asked\n", "{rung}");
        let missing = command(hermes_tests::gateway::binary().to_str().unwrap())
            .args(["__fence", rung, "/", "--", "/nowhere/at/all"])
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(missing.status.code(), Some(126), "{rung}");
        assert!(hermes_tests::gateway::both(&missing).contains("/nowhere/at/all"), "{rung}");
    }
}

/// Where nothing can be had, `auto` starts programs and says that nothing is around them, and `require` starts none: that profile is degraded.
#[test]
fn without_a_fence_it_is_said_and_what_requires_one_starts_nothing() {
    if !may_have_namespaces() {
        return;
    }
    for (mode, starts) in [("auto", true), ("require", false)] {
        let home = furnished(mode);
        // A kernel that allows neither: no user namespace in this one, and no more layers of Landlock than there are.
        let mut gateway = command("unshare");
        let mut words = vec!["-Ur".to_owned(), "sh".to_owned(), "-c".to_owned()];
        words.push("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"".to_owned());
        words.push("sh".to_owned());
        let binary = hermes_tests::gateway::binary().to_str().unwrap().to_owned();
        for _ in 0..16 {
            words.extend([&binary, "__fence", "landlock", "/", "--"].map(str::to_owned));
        }
        words.extend([&binary, "gateway", "run", "-v"].map(str::to_owned));
        let own = hermes_tests::gateway::hermes(&home, &[]);
        let log = fs_err::File::create(home.user().join("gateway.out")).unwrap().into_parts().0;
        gateway.args(words).env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        gateway.stdout(log.try_clone().unwrap()).stderr(log);
        let gateway = Gateway::start_by(&home, gateway);
        if starts {
            let said = looked(&gateway, "coder", &forbidden(&home, &["ops"], &[]));
            assert!(!list(&said, "read").is_empty());
            let status = fence(&gateway, "coder");
            assert_eq!((status.rung.as_deref(), status.mode.as_str()), (Some("none"), "auto"));
            let reason = status.reason.unwrap();
            assert!(reason.contains("user namespace") && reason.contains("andlock"), "{reason}");
            let doctor = hermes_tests::gateway::both(&hermes_tests::gateway::run(&home, &["doctor"]));
            assert!(doctor.contains("there is no fence") && doctor.contains("bubblewrap"), "{doctor}");
        } else {
            let profile = gateway.wait_state("coder", "degraded");
            assert!(profile.reason.unwrap().contains("`terminal.fence` is `require`"));
            let answer = gateway.hook("/p/coder/webhooks/look", home::SECRET, "1", "{}");
            assert!(answer.status == 503 || answer.status == 500, "{} {}", answer.status, answer.text());
            assert!(!home.of("coder").join("scripts/said").exists());
        }
    }
}

/// What another process of the same user gets to see of gateway and workers: what `ps` shows, and nothing of what they hold.
#[test]
fn no_process_of_the_same_user_looks_into_gateway_or_worker() {
    if !tools::may_be_others() {
        return;
    }
    let home = furnished("off");
    home.give_to(NOBODY);
    let gateway = Gateway::start(&home);
    let as_user = |words: &[&str]| {
        let output = command(words[0]).args(&words[1..]).uid(NOBODY).gid(NOBODY).output().unwrap();
        (output.status.success(), output.stdout)
    };
    for pid in [gateway.pid(), gateway.worker("coder"), gateway.worker("default")] {
        for file in ["environ", "mem", "maps", "smaps_rollup", "auxv", "io"] {
            assert!(!as_user(&["cat", &format!("/proc/{pid}/{file}")]).0, "{file}");
        }
        for link in ["exe", "cwd", "root"] {
            assert!(!as_user(&["readlink", &format!("/proc/{pid}/{link}")]).0, "{link}");
        }
        assert!(!as_user(&["ls", &format!("/proc/{pid}/fd")]).0);
        for file in ["stat", "statm", "cmdline", "limits", "cgroup"] {
            assert!(as_user(&["cat", &format!("/proc/{pid}/{file}")]).0, "{file}");
        }
    }
    // What needs more than that asks the gateway: figures, and which program runs.
    let coder = gateway.profile("coder");
    assert!(coder.rss_bytes.is_some_and(|bytes| bytes > 100_000) && coder.cpu_ms.is_some());
    let update = hermes_tests::gateway::run(&home, &["update", "--check", "--json"]);
    let update: serde_json::Value = serde_json::from_slice(&update.stdout)
        .unwrap_or_else(|_| panic!("{}", hermes_tests::gateway::both(&update)));
    assert_eq!(update["gateways"][0]["runs_this_program"], true, "{update}");
    // Without a fence a program of the profile reads files, and still no process.
    let own = [gateway.worker("coder"), gateway.pid()];
    let said = looked(&gateway, "coder", &forbidden(&home, &["ops"], &own));
    let read = list(&said, "read");
    assert!(read.iter().any(|path| path.ends_with("profiles/ops/.env")), "{read:?}");
    assert!(read.iter().all(|path| !path.starts_with("/proc/")), "{read:?}");
    assert_eq!(said["fds"], serde_json::json!([0, 1, 2]));
    assert_eq!(fence(&gateway, "coder").line(), "off");
    assert!(process::is_alive(gateway.pid()));
}
