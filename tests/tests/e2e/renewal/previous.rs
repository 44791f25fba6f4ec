//! The release before this one and this one take each other's place.

use std::path::Path;

use super::*;

/// N and N-1 meet: from the release before to this one, and back, under load. No request fails in either direction.
///
/// In namespaces of its own: the guard of that release ends workers whose numbers it misreads, those of other namespaces.
#[test]
fn n_an_upgrade_from_the_release_before_and_back_loses_nothing() {
    let Some(before) = hermes_tests::tools::previous_release() else { return };
    let name = "renewal::previous::n_an_upgrade_from_the_release_before_and_back_loses_nothing";
    hermes_tests::systemd::within(name, || there_and_back(&before));
}

fn there_and_back(before: &Path) {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let installed = Installed::of(before);
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let pid = gateway.pid();
    let (api, hooks) = (gateway.address("api_server"), gateway.address("webhook"));
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.connect(&api));
        scope.spawn(|| load.connect(&api));
        scope.spawn(|| load.keep(&api));
        scope.spawn(|| load.post(&hooks));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for program in [gateway::binary(), before.to_owned(), gateway::binary()] {
                wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
                let old: Vec<u32> = ["default", "coder", "ops"].map(|name| gateway.worker(name)).to_vec();
                installed.replace_with(&program, |_| {});
                // Whichever of the two runs: the command is that of the program that was installed.
                let output = installed.run(&home, &["gateway", "restart"]);
                assert_eq!(output.status.code(), Some(0), "{}", both(&output));
                assert!(both(&output).contains("3 of 3 profiles ready"), "{}", both(&output));
                assert_eq!((gateway.pid(), image(pid)), (pid, file(&installed.program())));
                for (name, old) in ["default", "coder", "ops"].into_iter().zip(old) {
                    let now = gateway.worker(name);
                    assert_ne!(now, old);
                    assert_eq!(image(now), image(pid));
                }
                load.answered.store(0, SeqCst);
            }
            wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
        }));
        load.stop.store(true, SeqCst);
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    load.assert_answered_once(&home);
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}
