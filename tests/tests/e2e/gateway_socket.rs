//! What programs of newer Python releases find of a gateway: `gateway.sock` in its home, and the host record.
//!
//! The client is written as theirs is: a plain socket, one JSON line, one JSON line back.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::gateway::{both, hermes, run};
use hermes_tests::{Gateway, Home, Running, http, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Sends bytes, and reads the answer up to its line end.
fn say(socket: &Utf8Path, bytes: &[u8]) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.contains(&b'\n') {
        match stream.read(&mut part)? {
            0 => break,
            len => answer.extend_from_slice(&part[..len]),
        }
    }
    assert!(answer.len() <= 512 * 1024);
    Ok(serde_json::from_slice(&answer)?)
}

/// Asks a verb; the whole answer.
fn asked(socket: &Utf8Path, verb: &str, params: &Value) -> Value {
    let request = json!({"verb": verb, "id": 1, "protocol": 1, "params": params});
    let answer = say(socket, format!("{request}\n").as_bytes()).unwrap();
    assert_eq!((&answer["id"], &answer["protocol"]), (&json!(1), &json!(1)), "{answer}");
    answer
}

/// Asks a verb; its result.
fn ask(socket: &Utf8Path, verb: &str, params: &Value) -> Value {
    let answer = asked(socket, verb, params);
    assert_eq!(answer["ok"], true, "{answer}");
    answer["result"].clone()
}

fn socket(home: &Home) -> Utf8PathBuf {
    home.root().join("gateway.sock")
}

fn name(profile: &str) -> Value {
    json!({"name": profile})
}

#[test]
fn d22_the_gateway_says_who_it_is_and_how_it_is() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    let (socket, pid) = (socket(&home), gateway.pid());
    assert_eq!(fs_err::symlink_metadata(&socket).unwrap().mode() & 0o7777, 0o600);

    let identity = ask(&socket, "identify", &json!({}));
    let expected = json!({
        "protocol": 1, "kind": "hermes-gateway", "pid": pid, "start_time": process::start_time(pid),
        "hermes_home": home.root(), "profile": "default", "supervisor": "manual", "code_sha": null,
        "code_version": gateway.status().gateway.version, "multiplex": true, "served_profiles": ["default", "coder"],
    });
    assert_eq!(identity, expected);

    let file: Value = wait::until("the platforms in the gateway's file", || {
        let file: Value = serde_json::from_str(&home.read("default", "gateway_state.json")?).ok()?;
        (file["platforms"].as_object()?.len() == 2).then_some(file)
    });
    let status = ask(&socket, "status", &json!({}));
    assert_eq!(status["platforms"], file["platforms"], "{status}");
    assert!(file["platforms"]["webhook"]["state"] == "connected" && status["gateway_state"] == "running");
    for (key, value) in [("pid", json!(pid)), ("answering_pid", json!(pid)), ("protocol", json!(1))] {
        assert_eq!(status[key], value, "{key}");
    }
    assert_eq!(status["start_time"], identity["start_time"], "as `identify` has it");
    let now = wait::system().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - status["answered_at"].as_f64().unwrap()).abs() < 60.0);

    assert_eq!(gateway.stop(), Some(0));
    assert!(!socket.exists(), "it goes with the gateway");
}

#[test]
fn d22_odd_requests_are_answered_with_a_reason_and_cost_nobody_anything() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let socket = socket(&home);
    let verbs = json!([
        "identify",
        "pause-for-update",
        "rescan-profiles",
        "serve-profile",
        "status",
        "unserve-profile"
    ]);
    for verb in ["migrate-profile-identity", "purge-profile-identity", "reload-plugins", "reload-mcp", "nope"]
    {
        let answer = asked(&socket, verb, &json!({"old": "a", "new": "b"}));
        assert_eq!((&answer["ok"], &answer["supported_verbs"]), (&json!(false), &verbs), "{answer}");
        assert_eq!(answer["error"], format!("unknown verb: '{verb}'"));
    }
    let refused = |bytes: &[u8]| {
        let answer = say(&socket, bytes).unwrap();
        assert_eq!(answer["ok"], false, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    assert!(refused(b"{\n").contains("not JSON"));
    assert!(refused(b"[]\n").contains("not a JSON object"));

    // The longest one, and one byte more.
    let of_length = |length: usize| {
        let frame = r#"{"verb":"identify","pad":""}"#.len() + 1;
        format!("{{\"verb\":\"identify\",\"pad\":\"{}\"}}\n", "x".repeat(length - frame))
    };
    assert_eq!(say(&socket, of_length(64 * 1024).as_bytes()).unwrap()["ok"], true);
    assert!(refused(of_length(64 * 1024 + 1).as_bytes()).contains("longer than 65536 bytes"));
    // Without an end; what is over is read, so that its sender can read why.
    assert!(refused(&vec![b'x'; 600_000]).contains("longer than"));

    // Only the first line is a request.
    let two = b"{\"verb\":\"identify\",\"id\":\"a\"}\n{\"verb\":\"pause-for-update\"}\n";
    assert_eq!(say(&socket, two).unwrap()["id"], "a");
    // Silent ones, as many as there are places for and more, are waited for and then dropped; meanwhile nobody else is hurt.
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(gateway.api("GET", "/health", &[], b"").status, 200);
    assert_eq!(ask(&socket, "identify", &json!({}))["pid"], gateway.pid());
    drop(silent);
    assert_eq!(gateway.status().gateway.state, "running", "the second line was nobody's request");
}

#[test]
fn d22_a_home_too_deep_for_a_socket_has_a_pointer() {
    let home = Home::new();
    let deep = home.user().join("deep/".repeat(20)).join("root");
    fs_err::create_dir_all(&deep).unwrap();
    for file in ["config.yaml", ".env"] {
        fs_err::copy(home.root().join(file), deep.join(file)).unwrap();
    }
    let temp = home.user().join("temp");
    fs_err::create_dir(&temp).unwrap();
    fs_err::set_permissions(&temp, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let env = [("HERMES_HOME", deep.as_str()), ("TMPDIR", temp.as_str())];
    let mut gateway = Gateway::spawn(&home, &[], &env);
    let pointer = deep.join("gateway.sock.path");
    let socket = wait::until("the pointer", || fs_err::read_to_string(&pointer).ok());
    let socket = Utf8PathBuf::from(socket);
    let hash = hermes_wire::endpoint::short_hash(deep.as_str());
    assert_eq!(socket, temp.join(format!("hermes-gw-{hash}.sock")));
    assert_eq!(fs_err::symlink_metadata(&socket).unwrap().mode() & 0o7777, 0o600);
    assert!(!deep.join("gateway.sock").exists());
    let identity = ask(&socket, "identify", &json!({}));
    assert_eq!((&identity["pid"], &identity["hermes_home"]), (&json!(gateway.pid()), &json!(deep)));
    // A cleaner of temporary files.
    fs_err::remove_file(&socket).unwrap();
    wait::until_true("the socket to come back", || UnixStream::connect(&socket).is_ok());
    assert_eq!(ask(&socket, "identify", &json!({}))["pid"], gateway.pid());
    wait::until_true("the start", || ask(&socket, "identify", &json!({}))["multiplex"] == true);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!socket.exists() && !pointer.exists());
}

#[test]
fn d22_profiles_are_served_and_unserved_and_the_answer_is_what_was_observed() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let socket = socket(&home);
    let coder = gateway.worker("coder");

    let answer = ask(&socket, "unserve-profile", &name("coder"));
    assert_eq!(answer, json!({"unserved": "coder", "multiplex": true, "served_profiles": ["default"]}));
    assert!(!process::is_alive(coder), "the worker has ended when the answer comes");
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 503);
    assert_eq!(ask(&socket, "identify", &json!({}))["served_profiles"], json!(["default"]));
    // Once more: what was asked for is so.
    assert_eq!(ask(&socket, "unserve-profile", &name("coder"))["unserved"], "coder");
    // A look at the homes brings nobody back whom somebody has just sent away.
    let looked = ask(&socket, "rescan-profiles", &json!({}));
    assert_eq!((&looked["added"], &looked["served_profiles"]), (&json!([]), &json!(["default"])), "{looked}");

    let answer = ask(&socket, "serve-profile", &name("coder"));
    assert_eq!(
        answer,
        json!({"served": "coder", "multiplex": true, "served_profiles": ["default", "coder"]})
    );
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 200);
    let again = gateway.worker("coder");
    assert_eq!(ask(&socket, "serve-profile", &name("coder"))["served"], "coder");
    assert_eq!(gateway.worker("coder"), again, "one that is served goes on");
    assert!(!home.root().join("gateway_desired.json").exists(), "nothing of this is remembered");

    // As their commands do it: the file in its home first, then the request.
    let parked = home.of("coder").join("gateway.parked");
    for _ in 0..2 {
        fs_err::write(&parked, "").unwrap();
        assert_eq!(ask(&socket, "unserve-profile", &name("coder"))["unserved"], "coder");
        assert_eq!(gateway.profile("coder").state, "parked");
        let refused = ask(&socket, "serve-profile", &name("coder"));
        assert!(refused["error"].as_str().unwrap().contains("is parked"), "{refused}");
        assert_eq!(refused["served_profiles"], json!(["default"]));
        fs_err::remove_file(&parked).unwrap();
        assert_eq!(ask(&socket, "serve-profile", &name("coder"))["served"], "coder");
        gateway.wait_ready("coder");
    }

    // A profile that our command has stopped, and whose file their command takes away, is wanted again.
    assert!(run(&home, &["-p", "coder", "gateway", "stop"]).status.success());
    assert_eq!(ask(&socket, "unserve-profile", &name("coder"))["unserved"], "coder");
    fs_err::remove_file(&parked).unwrap();
    assert_eq!(ask(&socket, "serve-profile", &name("coder"))["served"], "coder");

    for (verb, profile) in [
        ("serve-profile", "nobody"),
        ("unserve-profile", "nobody"),
        ("serve-profile", "default"),
        ("unserve-profile", "default"),
        ("serve-profile", "../x"),
        ("unserve-profile", ""),
    ] {
        let answer = ask(&socket, verb, &name(profile));
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{verb} {profile}: {answer}"));
        assert!(error.contains(&format!("'{profile}'")), "{error}");
        assert!(answer.get("served").is_none() && answer.get("unserved").is_none());
    }
    assert_eq!(gateway.api("GET", "/health", &[], b"").status, 200);

    // Who does not wait has asked all the same.
    let worker = gateway.worker("coder");
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"{\"verb\":\"unserve-profile\",\"params\":{\"name\":\"coder\"}}\n").unwrap();
    drop(stream);
    wait::until_true("the worker to end", || !process::is_alive(worker));
    gateway.wait_state("coder", "stopped");
}

#[test]
fn d22_a_look_at_the_homes_says_who_came_and_went() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let socket = socket(&home);
    let looked = ask(&socket, "rescan-profiles", &json!({}));
    let nothing = json!({
        "added": [], "removed": [], "rescanned": [], "parked": [], "multiplex": true,
        "served_profiles": ["default", "coder"],
    });
    assert_eq!(looked, nothing);

    // The gateway looks by itself as well: whoever is first, both are served when the answer comes. One that wants to stand alone
    // comes and is not served, and says so to whoever asks for it.
    home.profile_with("alone", "agent: {engine: echo}\ngateway: {standalone: true}\n", "");
    home.profile("ops");
    let looked = ask(&socket, "rescan-profiles", &json!({}));
    assert_eq!(looked["served_profiles"], json!(["default", "coder", "ops"]), "{looked}");
    gateway.wait_ready("ops");
    gateway.wait_state("alone", "standalone");
    let refused = ask(&socket, "serve-profile", &name("alone"));
    assert!(refused["error"].as_str().unwrap().contains("gateway.standalone"), "{refused}");
    let again = ask(&socket, "rescan-profiles", &json!({}));
    assert_eq!((&again["added"], &again["parked"]), (&json!([]), &json!([])), "{again}");
    let worker = gateway.worker("coder");
    fs_err::rename(home.of("coder"), home.user().join("coder")).unwrap();
    let looked = ask(&socket, "rescan-profiles", &json!({}));
    assert_eq!(looked["served_profiles"], json!(["default", "ops"]), "{looked}");
    assert_eq!(looked.get("pending"), None, "{looked}");
    wait::until_true("the worker to end", || !process::is_alive(worker));
}

#[test]
fn d22_a_gateway_of_one_profile_says_that_it_is_no_host() {
    let home = Home::with_config(&Home::config("false", ""));
    home.profile("coder");
    let _gateway = Gateway::start(&home);
    let socket = socket(&home);
    let identity = ask(&socket, "identify", &json!({}));
    assert_eq!((&identity["multiplex"], identity.get("served_profiles")), (&json!(false), None));
    assert_eq!(ask(&socket, "rescan-profiles", &json!({}))["multiplex"], false);
    assert!(ask(&socket, "serve-profile", &name("coder"))["error"].as_str().unwrap().contains("alone"));
    assert!(!record_path(&home).exists());
}

#[test]
fn d22_a_pause_for_an_update_finishes_what_runs_and_ends_to_be_started_again() {
    let home = Home::new();
    let config = "agent: {engine: echo, echo_delay_ms: 100}\n";
    home.profile_with("coder", config, &format!("API_SERVER_KEY={}\n", Home::key("coder")));
    let mut gateway = Gateway::start(&home);
    let socket = socket(&home);
    let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
    connection.send(&http::chat(true, "a b c d e f g h i j k l m n o p q r s t")).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);

    let answer = ask(&socket, "pause-for-update", &json!({}));
    assert_eq!((&answer["pausing"], &answer["already_stopping"]), (&json!(true), &json!(false)));
    assert_eq!(answer["pid"], gateway.pid());
    assert!(answer["drain_timeout"].as_f64().unwrap() >= 5.0, "{answer}");
    let again = ask(&socket, "pause-for-update", &json!({}));
    assert_eq!((&again["pausing"], &again["already_stopping"]), (&json!(false), &json!(true)));
    assert_eq!(ask(&socket, "status", &json!({}))["gateway_state"], "draining");
    let late = ask(&socket, "serve-profile", &name("coder"));
    assert!(late["error"].as_str().unwrap().contains("stopping"), "{late}");
    assert_eq!(asked(&socket, "rescan-profiles", &json!({}))["ok"], false);

    while connection.fill().unwrap_or(false) {}
    assert!(process::contains(connection.buffered(), b"[DONE]"), "the answer was cut");
    assert_eq!(gateway.wait(), Some(75), "a service manager starts it again");
    gateway.assert_nothing_left();
    assert!(!socket.exists() && !record_path(&home).exists());
}

#[test]
fn d22_the_socket_is_there_again_after_a_kill_a_loss_and_a_renewal() {
    if !hermes_tests::tools::may_look_into_others() {
        return;
    }
    let home = Home::new();
    let mut killed = Gateway::start(&home);
    let socket = socket(&home);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert!(socket.exists() && UnixStream::connect(&socket).is_err(), "left behind");
    assert_eq!(record(&home)["pid"], killed.pid());
    drop(killed);

    let mut gateway = Gateway::start(&home);
    let pid = json!(gateway.pid());
    assert_eq!(ask(&socket, "identify", &json!({}))["pid"], pid);
    assert_eq!(record(&home)["pid"], pid, "the record of a dead one is replaced");

    fs_err::remove_file(&socket).unwrap();
    wait::until_true("the socket to come back", || UnixStream::connect(&socket).is_ok());
    assert_eq!(fs_err::symlink_metadata(&socket).unwrap().mode() & 0o7777, 0o600);

    // The next release in the same process: no client is refused or cut off meanwhile, and the record is there all the time.
    let inode = fs_err::symlink_metadata(&socket).unwrap().ino();
    let over = std::sync::atomic::AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(ask(&socket, "identify", &json!({}))["pid"], pid);
                assert_eq!(record(&home)["pid"], pid);
                asked += 1;
            }
            asked
        });
        let output = run(&home, &["gateway", "restart"]);
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(output.status.success(), "{}", both(&output));
        asking.join().unwrap()
    });
    assert!(asked > 0);
    gateway.wait_settled();
    assert_eq!(ask(&socket, "identify", &json!({}))["pid"], pid);
    assert_eq!(fs_err::symlink_metadata(&socket).unwrap().ino(), inode, "one socket all the time");
    let environment = process::environment(gateway.worker("default")).unwrap();
    assert!(!process::contains(&environment, b"HERMES_GATEWAY_SOCKET"));
    assert_eq!(gateway.stop(), Some(0));
    assert!(!socket.exists() && !record_path(&home).exists());
}

fn locks(home: &Home) -> Utf8PathBuf {
    home.user().join(".local/state/hermes/gateway-locks")
}

fn record_path(home: &Home) -> Utf8PathBuf {
    locks(home).join("host-gateway.json")
}

fn record(home: &Home) -> Value {
    serde_json::from_str(&fs_err::read_to_string(record_path(home)).unwrap()).unwrap()
}

#[test]
fn d22_the_host_record_says_who_serves_whom_and_since_when() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let record = wait::until("the record to name both", || {
        Some(record(&home)).filter(|record| record["profiles"] == json!(["default", "coder"]))
    });
    let boot = fs_err::read_to_string("/proc/stat").unwrap();
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime ")).unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a few minutes in ticks")]
    let started = boot + process::start_time(gateway.pid()) as f64 / 100.0;
    assert!((record["createTime"].as_f64().unwrap() - started).abs() < 0.01, "{record}");
    let mut rest = record.clone();
    for key in ["createTime", "updatedAt"] {
        assert!(rest.as_object_mut().unwrap().remove(key).is_some());
    }
    let expected = json!({
        "role": "gateway", "home": home.root(), "pid": gateway.pid(), "host": "", "port": null, "protocolVersion": 1,
        "tokenFingerprint": "", "profiles": ["default", "coder"],
    });
    assert_eq!(rest, expected);
    let mode = |path: Utf8PathBuf| fs_err::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(locks(&home)), mode(record_path(&home))), (0o700, 0o600));
    assert_eq!(mode(locks(&home).join("host-gateway.lock")), 0o600);

    ask(&socket(&home), "unserve-profile", &name("coder"));
    wait::until_true("the record to follow", || self::record(&home)["profiles"] == json!(["default"]));
}

/// Two homes of one user are usual here; only a second gateway of one home is not.
#[test]
fn d22_another_home_starts_without_the_record_and_this_one_is_refused() {
    let (first, second) = (Home::new(), Home::new());
    let shared = locks(&first);
    let host = Gateway::start(&first);
    let env = [("HERMES_GATEWAY_LOCK_DIR", shared.as_str())];
    let mut other = Gateway::spawn(&second, &[], &env);
    other.wait_settled();
    assert_eq!(record(&first)["pid"], host.pid(), "the seat is taken");
    let said = format!("process {} has it, for the home `{}`", host.pid(), first.root());
    assert!(other.output().contains(&said), "{}", other.output());
    drop((other, host));

    // Somebody else's host that lives, and says that it serves this home.
    #[expect(clippy::disallowed_methods, reason = "some process that lives")]
    let stranger = Running(std::process::Command::new("sleep").arg("600").spawn().unwrap());
    let pid = stranger.0.id();
    let text = json!({
        "role": "gateway", "home": first.root(), "pid": pid, "createTime": null, "protocolVersion": 1, "profiles": ["default"],
    });
    fs_err::write(record_path(&first), text.to_string()).unwrap();
    for verb in ["run", "check"] {
        let output = hermes(&first, &["gateway", verb]).output().unwrap();
        let said = both(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(&format!("process {pid} serves the home")), "{said}");
        assert!(
            said.contains(record_path(&first).as_str()) && said.contains(&format!("kill {pid}")),
            "{said}"
        );
    }
    assert_eq!(record(&first)["pid"], pid, "it is not ours to remove");
    drop(stranger);
    let gateway = Gateway::start(&first);
    assert_eq!(record(&first)["pid"], gateway.pid());
    let output = hermes(&first, &["gateway", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "its own gateway is in nobody's way: {}", both(&output));
}
