//! The search for canaries from inside, by everything that a profile starts: commands, programs in the background, servers of tools, another
//! agent, scripts of routes. Each tries to get at what is every profile's, by every way and every name that leads there; and from outside
//! no canary is found in the environment or the memory of any of them but the one that it was given.

use std::collections::BTreeSet;

use hermes_tests::agent::Agent;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, tools, wait};
use hermes_wire::contract::runtime_status::FenceStatus;
use serde_json::{Value, json};

use super::{NOBODY, command, fence, list, may_have_namespaces, sockets};

/// Part of every canary of this test, and of no other's.
const MARK: &str = "c07be2194d";
/// Profiles with a model of their own, and one that another agent answers for.
const WITH_MODEL: [&str; 2] = ["default", "coder"];
const WITH_AGENT: &str = "writer";
const NAMES: [&str; 3] = ["default", "coder", WITH_AGENT];
/// What profiles with a model start.
const KINDS: [&str; 4] = ["command", "background", "server", "script"];
/// Files with secrets, of every home.
const FILES: [&str; 10] = [
    ".env",
    "auth.json",
    "config.yaml",
    "state.db",
    "state.db-wal",
    "mcp-tokens/x.json",
    "mcp-tokens/x.client.json",
    "sessions/sessions.json",
    "runtime_status.json",
    "logs/gateway.log",
];
/// Of other profiles' homes nothing is to be seen, secret or not.
const OF_OTHERS: [&str; 4] = ["workspace/notes", "SOUL.md", "memories/MEMORY.md", "skills/s/SKILL.md"];

/// Made as it runs, so that this test's own binary is no carrier.
fn canary(profile: &str, what: &str) -> String {
    format!("canary-{profile}-{what}-{MARK}")
}

/// What a profile's programs are given on purpose.
fn given(profile: &str, kind: &str) -> Vec<String> {
    match kind {
        "command" | "background" => vec![canary(profile, "passed")],
        "server" => vec![canary(profile, "server")],
        "agent" => vec![canary(profile, "agent"), canary(profile, "passed")],
        _ => Vec::new(),
    }
}

/// Three profiles that start everything there is to start, with secrets in every file that has some.
fn furnished(provider: &Provider, fence: &str) -> Home {
    let home = Home::empty();
    let common = format!(
        "terminal: {{fence: {fence}, env_passthrough: [PASSED_KEY]}}\napprovals: {{mode: 'off'}}\n# {}\n",
        canary("anybody", "notes")
    );
    let servers = "mcp_servers: {odd: {command: sh, protocol: 2025-11-25, env: {GIVEN: '${SERVER_KEY}'}, \
                   args: [-c, 'python3 search.py server </dev/null >/dev/null 2>&1 & exec python3 odd.py plain']}}\n";
    let route = "{look: {prompt: 'x', script: look.sh}}";
    let start = "python3 search.py agent </dev/null >/dev/null 2>&1 & exec python3";
    let agent = Agent::new(&home, WITH_AGENT).section(", env: [AGENT_KEY]");
    let agent = agent.replacen("[python3, ", &format!("[sh, -c, '{start} \"$0\"', "), 1);
    let config = Home::config("true", "").replacen("engine: echo, ", "", 1).replacen(
        "hook: {prompt: 'say {text}'}",
        "look: {prompt: 'x', script: look.sh}",
        1,
    );
    home.write("default", "config.yaml", &format!("{config}{}{common}{servers}", provider.model_config()));
    let webhook =
        format!("platforms: {{webhook: {{extra: {{secret: {}, routes: {route}}}}}}}\n", home::SECRET);
    home.write("coder", "config.yaml", &format!("{webhook}{}{common}{servers}", provider.model_config()));
    home.write(WITH_AGENT, "config.yaml", &format!("agent: {{{agent}}}\n{common}"));
    let odd = include_str!("../../../fixtures/servers/odd.py");
    for name in NAMES {
        let key = if name == "default" { home::DEFAULT_KEY.to_owned() } else { Home::key(name) };
        let lines = [
            format!("API_SERVER_KEY={key}"),
            format!("CUSTOM_API_KEY={}", canary(name, "model")),
            format!("SERVER_KEY={}", canary(name, "server")),
            format!("AGENT_KEY={}", canary(name, "agent")),
            format!("PASSED_KEY={}", canary(name, "passed")),
            format!("MAIL_PASSWORD={}", canary(name, "bot")),
        ];
        home.write(name, ".env", &lines.join("\n"));
        home.write(
            name,
            "auth.json",
            &json!({"providers": {"x": {"token": canary(name, "login")}}}).to_string(),
        );
        for file in ["mcp-tokens/x.json", "mcp-tokens/x.client.json"] {
            home.write(name, file, &json!({"access_token": canary(name, "token")}).to_string());
        }
        for file in OF_OTHERS {
            home.write(name, file, &format!("---\nname: s\n---\n{}\n", canary(name, "notes")));
        }
        home.write(name, "workspace/search.py", include_str!("search.py"));
        home.write(name, "workspace/odd.py", odd);
        home.write(
            name,
            "scripts/look.sh",
            "cd ../workspace && python3 search.py script >&2; echo '{\"text\": \"x\"}'\n",
        );
    }
    home
}

/// What nobody's programs may get at, and what `name`'s may not.
fn targets(gateway: &Gateway<'_>, name: &str, processes: &[u32], changes: bool) -> Value {
    let home = gateway.home;
    let mut files: Vec<_> =
        NAMES.iter().flat_map(|other| FILES.map(|file| home.of(other).join(file))).collect();
    let others = NAMES.iter().filter(|other| **other != name);
    files.extend(others.clone().flat_map(|other| OF_OTHERS.map(|file| home.of(other).join(file))));
    let of_homes = ["mcp-tokens", "sessions", "memories", "cron", "logs"];
    let mut dirs: Vec<_> =
        NAMES.iter().flat_map(|other| of_homes.map(|dir| home.of(other).join(dir))).collect();
    dirs.extend([home.root(), home.root().join("profiles"), home.of(name)]);
    dirs.extend(
        others.clone().flat_map(|other| ["", "workspace", "skills"].map(|dir| home.of(other).join(dir))),
    );
    json!({
        "mark": MARK,
        "files": files,
        "dirs": dirs,
        "processes": processes,
        "sockets": sockets(home),
        "below": home.runtime(),
        // Without a fence that would be seen as a change of the profile.
        "changes": changes,
    })
}

/// Has everything started, and gives what each found: profile, kind, findings. `look` is called while all of them run, with the workers;
/// without one they change nothing.
fn searched(
    gateway: &Gateway<'_>,
    provider: &Provider,
    look: Option<fn(&[u32])>,
) -> Vec<(&'static str, &'static str, Value)> {
    let home = gateway.home;
    let workers: Vec<u32> = NAMES.iter().map(|name| gateway.worker(name)).collect();
    let processes: Vec<u32> = workers.iter().copied().chain([gateway.pid()]).collect();
    provider.answer_with(|body| {
        let messages = body["messages"].as_array().unwrap();
        let turn = || messages.iter().rev().take_while(|message| message["role"] != "user");
        let asked = messages.iter().rev().find(|message| message["role"] == "user").unwrap();
        let call = |arguments: Value| {
            Reply::Calls(vec![(
                format!("call_{}", turn().count()),
                "terminal".to_owned(),
                arguments.to_string(),
            )])
        };
        match turn().filter(|message| message["role"] == "tool").count() {
            _ if !asked["content"].to_string().contains("search now") => Reply::text("nothing to do"),
            0 => call(json!({"command": "exec python3 search.py background", "background": true})),
            1 => call(json!({"command": "python3 search.py command"})),
            _ => Reply::text("all done"),
        }
    });
    // Before anybody searches: who does leaves links behind, and a link of another one's to what is one's own is nobody's secret.
    let told = NAMES.map(|name| (name, targets(gateway, name, &processes, look.is_some()).to_string()));
    for (name, text) in told {
        let workspace = home.of(name).join("workspace");
        fs_err::write(workspace.join(".targets"), text).unwrap();
        fs_err::rename(workspace.join(".targets"), workspace.join("targets")).unwrap();
    }
    std::thread::scope(|scope| {
        let asking: Vec<_> = NAMES
            .map(|name| {
                let (prefix, key) = if name == "default" {
                    (String::new(), home::DEFAULT_KEY.to_owned())
                } else {
                    (format!("/p/{name}"), Home::key(name))
                };
                let text = if name == WITH_AGENT { "say all done" } else { "search now" };
                scope.spawn(move || gateway.chat(&prefix, &key, text).text())
            })
            .into();
        // It is answered when its script has ended.
        let hooked: Vec<_> = WITH_MODEL
            .map(|name| {
                let prefix = if name == "default" { String::new() } else { format!("/p/{name}") };
                let path = format!("{prefix}/webhooks/look");
                scope.spawn(move || gateway.hook(&path, home::SECRET, &format!("{name}-1"), "{}"))
            })
            .into();
        let all = WITH_MODEL.iter().flat_map(|name| KINDS.map(|kind| (*name, kind)));
        let found: Vec<_> = all
            .chain([(WITH_AGENT, "agent")])
            .map(|(name, kind)| {
                let said = wait::until(&format!("the {kind} of {name} to have searched"), || {
                    home.read(name, &format!("workspace/said-{kind}"))
                });
                (name, kind, serde_json::from_str(&said).unwrap())
            })
            .collect();
        if let Some(look) = look {
            look(&workers);
        }
        for name in NAMES {
            fs_err::write(home.of(name).join("workspace/go"), "").unwrap();
        }
        for answer in hooked {
            let answer = answer.join().unwrap();
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        for answer in asking {
            let text = answer.join().unwrap();
            assert!(text.contains("all done"), "{text}");
        }
        found
    })
}

/// From outside: nothing that any profile started has a canary that it was not given.
fn carriers(workers: &[u32]) {
    let kinds = ["model", "server", "agent", "passed", "bot", "login", "token", "notes"];
    let all: Vec<String> = NAMES.iter().flat_map(|name| kinds.map(|kind| canary(name, kind))).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (name, worker) in NAMES.iter().zip(workers) {
        // Who the profile is, its agent is told.
        let own = ["passed", "server", "agent", "notes"].map(|kind| canary(name, kind));
        let children: Vec<u32> = process::family(*worker)
            .into_iter()
            .filter(|pid| pid != worker && process::is_alive(*pid))
            .collect();
        assert!(children.len() >= 2, "{name} runs {children:?}");
        let mut carried = BTreeSet::new();
        for pid in children {
            // Between two of its programs one may be gone.
            let Some(environment) = process::environment(pid).filter(|_| process::is_alive(pid)) else {
                continue;
            };
            carried.extend(
                all.iter()
                    .filter(|word| process::contains(&environment, word.as_bytes()))
                    .map(ToString::to_string),
            );
            carried.extend(process::find_in_memory(pid, &all));
        }
        let more: Vec<&String> = carried.iter().filter(|word| !own.contains(word)).collect();
        assert!(more.is_empty(), "programs of {name} have {more:?}");
        assert!(!carried.is_empty(), "the search found nothing at all: it does not work");
    }
}

/// What holds behind a fence, by the rung that is in force.
fn nothing_is_found(home: &Home, gateway: &Gateway<'_>, provider: &Provider) -> FenceStatus {
    let found = searched(gateway, provider, Some(carriers));
    let status = fence(gateway, "coder");
    let hides_names = status.rung.as_deref() != Some("landlock");
    for (name, kind, said) in found {
        let what = format!("{kind} of {name} behind {:?}", status.rung);
        let own = given(name, kind);
        assert_eq!(list(&said, "own"), own, "{what}: its environment");
        // The environment is where what was given is found, and by whoever shares a start with it.
        let strays: Vec<&Value> = said["found"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pair| {
                !own.iter().any(|word| pair[1] == **word) || !pair[0].as_str().unwrap().ends_with("/environ")
            })
            .collect();
        assert!(strays.is_empty(), "{what} found {strays:?}");
        assert_eq!(
            own.is_empty(),
            said["found"].as_array().unwrap().is_empty(),
            "{what}: a search that works"
        );
        assert_eq!(list(&said, "read"), [""; 0], "{what}");
        assert_eq!(list(&said, "wrote"), [""; 0], "{what}");
        assert_eq!(said["inherited"], json!([0, 1, 2]), "{what}");
        if hides_names {
            assert_eq!(list(&said, "seen"), [""; 0], "{what}");
        }
        if status.notes.is_empty() {
            assert_eq!(list(&said, "connected"), [""; 0], "{what}");
        }
    }
    // What they could have changed is as it was.
    for name in NAMES {
        assert!(home.read(name, ".env").unwrap().contains(&canary(name, "model")));
    }
    status
}

#[test]
fn no_child_of_root_finds_a_canary() {
    if !tools::may_look_into_others() || !may_have_namespaces() {
        return;
    }
    let provider = Provider::start();
    let home = furnished(&provider, "auto");
    let gateway = Gateway::start(&home);
    let status = nothing_is_found(&home, &gateway, &provider);
    assert!(matches!(status.rung.as_deref(), Some("namespaces" | "bubblewrap")), "{status:?}");
}

/// The first rung of an ordinary user is another one where bubblewrap is installed.
#[test]
fn no_child_of_an_ordinary_user_finds_a_canary() {
    if !tools::may_be_others() || !may_have_namespaces() {
        return;
    }
    let provider = Provider::start();
    let home = furnished(&provider, "auto");
    home.give_to(NOBODY);
    let gateway = Gateway::start(&home);
    let status = nothing_is_found(&home, &gateway, &provider);
    assert!(matches!(status.rung.as_deref(), Some("namespaces" | "bubblewrap")), "{status:?}");
}

/// Where the kernel gives nobody a namespace of users there is bubblewrap for root, if it is installed, and Landlock, if the kernel has it.
#[test]
fn no_child_finds_a_canary_where_there_are_no_namespaces() {
    if !may_have_namespaces() {
        return;
    }
    let provider = Provider::start();
    let home = furnished(&provider, "auto");
    let mut gateway = command("unshare");
    gateway.args(["-Ur", "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"", "sh"]);
    let own = hermes_tests::gateway::hermes(&home, &[]);
    gateway.arg(hermes_tests::gateway::binary()).args(["gateway", "run", "-v"]);
    let log = fs_err::File::create(home.user().join("gateway.out")).unwrap().into_parts().0;
    gateway.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    gateway.stdout(log.try_clone().unwrap()).stderr(log);
    let gateway = Gateway::start_by(&home, gateway);
    // A server of tools was started with the profile, behind what there is.
    let status = fence(&gateway, "coder");
    if status.rung.as_deref() == Some("none") {
        tools::say(&format!("it needs bubblewrap or Landlock: {}", status.line()));
        return;
    }
    assert!(matches!(status.rung.as_deref(), Some("landlock" | "bubblewrap")), "{status:?}");
    nothing_is_found(&home, &gateway, &provider);
}

/// Without a fence files can be read. What a program inherits, what gateway and workers hold in memory, and how they can be looked into
/// is as closed as ever.
#[test]
fn without_a_fence_no_child_inherits_anything_or_looks_into_gateway_and_workers() {
    if !tools::may_be_others() {
        return;
    }
    let provider = Provider::start();
    let home = furnished(&provider, "'off'");
    home.give_to(NOBODY);
    let gateway = Gateway::start(&home);
    let processes: Vec<String> = NAMES
        .iter()
        .map(|name| gateway.worker(name))
        .chain([gateway.pid()])
        .map(|pid| format!("/proc/{pid}"))
        .collect();
    let is_theirs = |path: &str| {
        processes.iter().any(|process| {
            path == process
                || path.starts_with(&format!("{process}/"))
                || path.starts_with(&format!("{process} "))
        })
    };
    for (name, kind, said) in searched(&gateway, &provider, None) {
        let what = format!("{kind} of {name} without a fence");
        assert_eq!(list(&said, "own"), given(name, kind), "{what}: its environment");
        assert_eq!(said["inherited"], json!([0, 1, 2]), "{what}");
        assert_eq!(said["user"], NOBODY, "{what}");
        let read = list(&said, "read");
        assert!(read.iter().any(|path| path.ends_with("/.env")), "{what}: a search that works");
        assert_eq!(read.iter().filter(|path| is_theirs(path)).collect::<Vec<_>>(), [""; 0], "{what}");
        let found = said["found"].as_array().unwrap();
        assert!(!found.iter().any(|pair| is_theirs(pair[0].as_str().unwrap())), "{what}: {found:?}");
    }
    assert_eq!(fence(&gateway, "coder").line(), "off");
}
