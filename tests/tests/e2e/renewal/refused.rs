//! Programs that do not take the gateway's place.

use super::*;

#[test]
fn a_program_that_is_gone_or_no_program_is_refused() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, worker) = (gateway.pid(), gateway.worker("default"));
    let runs = image(pid);
    fs_err::remove_file(installed.program()).unwrap();
    let refusal = |part: &str| {
        let Some(ClientReply::Refused { code: 1, message, hint: Some(_) }) =
            ask(&gateway, &ClientRequest::Renew)
        else {
            panic!("it must be refused")
        };
        assert!(
            message.starts_with(&format!("the program `{}` {part}", installed.program().display())),
            "{message}"
        );
    };
    refusal("is gone; nothing was changed");
    installed.replace_by("#!/bin/sh\n", 0o644);
    refusal("cannot be executed (Permission denied)");
    let output = gateway::run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("is no gateway that could be taken up"), "{}", both(&output));
    fs_err::remove_file(installed.program()).unwrap();
    fs_err::create_dir(installed.program()).unwrap();
    refusal("is not a file");
    assert_eq!((image(pid), gateway.worker("default")), (runs, worker), "nothing was changed");
}

/// 32: a program that is executable and no gateway takes nobody's place, whether the command asks for it or somebody else; one
/// that hangs has ten seconds.
#[test]
fn h32_a_program_that_is_no_gateway_is_refused() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, worker, runs) = (gateway.pid(), gateway.worker("default"), image(gateway.pid()));
    let hangs = home.user().join("hangs");
    for text in [
        "#!/bin/true\n",
        "#!/bin/sh\necho hermes-gateway \"$@\"\n",
        &format!("#!/bin/sh\necho $$ >> {hangs}\nexec sleep 600\n"),
    ] {
        installed.replace_by(text, 0o755);
        let asked = hermes_tests::wait::now();
        let Some(ClientReply::Refused { code: 1, message, .. }) = ask(&gateway, &ClientRequest::Renew) else {
            panic!("it must be refused: {text}")
        };
        assert!(message.contains("does not prove to be a gateway"), "{message}");
        let output = gateway::run(&home, &["gateway", "restart"]);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        assert!(both(&output).contains("is no gateway that could be taken up"), "{}", both(&output));
        assert!(asked.elapsed() < Duration::from_secs(60), "{text}");
        assert_eq!((image(pid), gateway.worker("default")), (runs, worker), "nothing was changed");
    }
    for hung in fs_err::read_to_string(hangs).unwrap().lines() {
        wait::until_true("the one that hangs to be ended", || !process::is_alive(hung.parse().unwrap()));
    }
    installed.replace();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

#[test]
fn a_program_that_would_not_start_changes_nothing() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, worker) = (gateway.pid(), gateway.worker("default"));
    let runs = image(pid);
    // One that is a gateway, and finds something in the files.
    let proof = version::PROOF;
    let found =
        format!("#!/bin/sh\n[ $3 = --proof ] && exec echo '{proof}'\necho \"$*: no such key\" >&2\nexit 1\n");
    installed.replace_by(&found, 0o755);
    let output = gateway::run(&home, &["gateway", "restart"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(
            "which goes on with the one before (exit status: 1\n  gateway check --renewal: no such key)"
        ),
        "{text}"
    );
    assert!(text.contains("hint: "), "{text}");
    // One of a release that cannot take listeners over.
    installed.replace_by("#!/bin/sh\necho 'unexpected argument' >&2\nexit 2\n", 0o755);
    let output = gateway::run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("hint: restart it: hermes gateway run --replace"), "{}", both(&output));
    // The real one does not, with files that would be refused.
    installed.replace();
    let config = home.read("default", "config.yaml").unwrap();
    home.profile_with("bad", "platforms:\n  webhook:\n    enabled: true\n", "");
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert!(both(&output).contains("Profile 'bad' enables the port-binding platform"), "{}", both(&output));
    assert_eq!((image(pid), gateway.worker("default")), (runs, worker), "nothing was changed");
    assert_eq!(home.read("default", "config.yaml").unwrap(), config);
}

#[test]
fn where_the_new_program_cannot_be_executed_the_one_before_goes_on() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, api, runs) = (gateway.pid(), gateway.address("api_server"), image(gateway.pid()));
    let worker = gateway.worker("default");
    let before = wait::until("the descriptors to settle", || {
        let now = descriptors(pid);
        wait::pass(Duration::from_millis(200));
        (now == descriptors(pid)).then_some(now)
    });
    let as_before = || {
        let mut now = Vec::new();
        for _ in 0..100 {
            now = descriptors(pid);
            if now == before {
                return;
            }
            wait::pass(Duration::from_millis(50));
        }
        assert_eq!(now, before, "descriptors are left over");
    };
    // It proves to be a gateway, and has become something without a header that the system knows when it is executed. A shell must
    // not read that.
    let no_program = installed.directory().join("no-program");
    fs_err::write(&no_program, "touch should-not-be\n").unwrap();
    fs_err::set_permissions(&no_program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let becomes = format!("#!/bin/sh\nmv {} \"$0\"\nexec echo '{}'\n", no_program.display(), version::PROOF);
    installed.replace_by(&becomes, 0o755);
    assert!(matches!(ask(&gateway, &ClientRequest::Renew), Some(ClientReply::Done(_))));
    wait::until_true("another worker", || {
        let now = gateway.status();
        !now.gateway.stale && now.profiles.iter().any(|p| p.ready && p.pid != Some(worker))
    });
    assert_eq!((image(pid), gateway.address("api_server")), (runs, api.clone()));
    assert!(gateway.output().contains("the program cannot be executed"), "{}", gateway.output());
    assert_eq!(http::request(&api, "GET", "/health", &[], b"").unwrap().status, 200);
    as_before();
    installed.replace();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!((image(pid), gateway.address("api_server")), (file(&installed.program()), api));
    as_before();
}
