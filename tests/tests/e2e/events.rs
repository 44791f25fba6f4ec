//! What has happened, and who wanted it: the journal and `hermes events`.

use hermes_tests::gateway::{both, hermes, run};
use hermes_tests::{Gateway, Home, process, wait};
use hermes_wire::contract::events::Event;
use nix::sys::signal::Signal;

/// All that is written down, with what the command says of one profile or of all.
fn events(home: &Home, args: &[&str]) -> Vec<Event> {
    let output = run(home, &[&["events", "--json", "-n", "1000"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| Event::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// The event that has these words, once it is there.
fn find(home: &Home, what: &str, to: &str, cause: &str) -> Event {
    wait::until(&format!("{what} {to} {cause:?}"), || {
        events(home, &["-p", "coder"]).into_iter().rev().find(|event| {
            event.what == what && event.to.as_deref().unwrap_or_default() == to && event.cause.contains(cause)
        })
    })
}

fn by(event: &Event) -> (&str, Option<&str>) {
    let by = event.by.as_ref().unwrap_or_else(|| panic!("nobody: {event:?}"));
    (&by.who, by.name.as_deref())
}

/// N3.11: every change of state with its cause and who wanted it; read with a gateway and without.
#[test]
fn n3_11_every_change_of_state_is_written_down_with_who_wanted_it() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    let first = find(&home, "state", "ready", "");
    assert_eq!((first.from.as_deref(), first.pid), (Some("starting"), Some(gateway.worker("coder"))));

    // A command, by process and user.
    let stop = hermes(&home, &["gateway", "stop", "-p", "coder"]).spawn().unwrap();
    let asker = i32::try_from(stop.id()).unwrap();
    assert!(stop.wait_with_output().unwrap().status.success());
    let own = nix::unistd::geteuid().as_raw();
    for (what, to) in [("state", "draining"), ("exit", ""), ("state", "parked")] {
        let event = find(&home, what, to, "");
        let by = event.by.clone().unwrap();
        // The command writes to the home before it asks, which may be seen first.
        if by.who == "files" && to == "draining" {
            continue;
        }
        let who = (by.who.as_str(), by.name.as_deref(), by.pid, by.uid);
        assert_eq!(who, ("command", Some("stop"), Some(asker), Some(own)), "{event:?}");
    }
    assert_eq!(find(&home, "exit", "", "").exit.as_deref(), Some("exit 0"));
    assert!(run(&home, &["gateway", "start", "-p", "coder"]).status.success());
    // So does this one: what the gateway sees first is what it is about.
    let started = wait::until("the start", || {
        events(&home, &["-p", "coder"]).into_iter().find(|event| event.from.as_deref() == Some("parked"))
    });
    let who =
        if started.cause == "not parked any more" { ("files", None) } else { ("command", Some("start")) };
    assert_eq!(by(&started), who, "{started:?}");
    assert!(["not parked any more", "start requested"].contains(&started.cause.as_str()), "{started:?}");

    // Nobody: it was killed.
    gateway.kill_worker("coder");
    let killed = find(&home, "exit", "", "nobody asked");
    assert_eq!((killed.exit.as_deref(), by(&killed)), (Some("signal 9 (SIGKILL)"), ("worker", None)));

    // Files: applied, and refused with the file.
    let config = home.read("coder", "config.yaml").unwrap();
    home.write("coder", "config.yaml", &format!("{config}# changed\n"));
    assert_eq!(by(&find(&home, "config", "applied", "files changed")), ("files", None));
    assert_eq!(by(&find(&home, "swap", "generation 4", "files changed")), ("files", None));
    home.write("coder", "config.yaml", "platforms: [\n");
    let refused = find(&home, "config", "refused", "");
    assert!(refused.file.as_deref().unwrap().ends_with("coder/config.yaml"), "{refused:?}");
    assert!(gateway.profile("coder").ready, "the one before goes on");

    // Without a gateway the same is read, of one profile and of all, and for people.
    let worker = gateway.worker("coder");
    assert_eq!(gateway.stop(), Some(0));
    let gateways: Vec<(Option<String>, Option<String>)> = events(&home, &[])
        .into_iter()
        .filter(|event| event.what == "gateway")
        .map(|event| (event.to, event.by.and_then(|by| by.name)))
        .collect();
    let word = |to: &str, by: Option<&str>| (Some(to.to_owned()), by.map(str::to_owned));
    assert_eq!(
        gateways,
        [
            word("starting", None),
            word("running", None),
            word("draining", Some("SIGTERM")),
            word("stopped", None)
        ]
    );
    assert!(events(&home, &["-p", "default"]).iter().all(|event| event.profile.as_deref() != Some("coder")));
    let text = both(&run(&home, &["events", "coder"]));
    for words in [
        " (command stop, PID ",
        "ended, signal 9 (SIGKILL): nobody asked for it",
        "configuration refused: ",
        &format!("worker (PID {worker}) ended, exit 0: leaving (gateway stop)"),
        "gateway draining → stopped",
    ] {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs_err::metadata(home.root().join("logs/events.jsonl")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let of_nobody = run(&home, &["events", "nobody"]);
    assert_eq!(of_nobody.status.code(), Some(1), "{}", both(&of_nobody));
}

/// N3.11: `-f` shows what happens while it happens, through a torn line and a journal that was moved away; Ctrl-C ends it.
#[test]
fn n3_11_events_are_followed() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let shown = home.user().join("events.out");
    let file = fs_err::File::create(&shown).unwrap().into_parts().0;
    let mut command = hermes(&home, &["events", "-f", "-n", "0", "coder"]);
    let mut following = command.stdout(file).spawn().unwrap();
    let text = || fs_err::read_to_string(&shown).unwrap();
    // It listens once it shows anything; until then things happen again.
    wait::until_true("a first event", || {
        run(&home, &["gateway", "restart", "-p", "coder"]);
        text().contains("swapped, generation ")
    });
    assert!(!text().contains("stopped → starting"), "from now on: {}", text());
    fs_err::rename(home.root().join("logs/events.jsonl"), home.root().join("logs/moved")).unwrap();
    gateway.kill_worker("coder");
    wait::until_true("what happens after the journal was moved", || text().contains("signal 9 (SIGKILL)"));
    process::signal(following.id(), Signal::SIGINT);
    assert_eq!(following.wait().unwrap().code(), Some(0));
}

/// A disk that takes nothing does not keep a gateway from working, and it is said that events are missing.
#[test]
fn n3_11_a_journal_that_cannot_be_written_stops_nobody() {
    let home = Home::new();
    home.profile("coder");
    fs_err::create_dir_all(home.root().join("logs/events.jsonl")).unwrap();
    let mut gateway = Gateway::start(&home);
    let output = run(&home, &["events"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains("logs/events.jsonl` cannot be read"), "{}", both(&output));
    fs_err::remove_dir(home.root().join("logs/events.jsonl")).unwrap();
    gateway.kill_worker("coder");
    find(&home, "gap", "", "could not be written");
    assert_eq!(gateway.stop(), Some(0));
}
