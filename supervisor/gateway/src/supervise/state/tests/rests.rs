//! Profiles that do not run because somebody wants it so.

use super::*;

/// Its own wish is no fault: what served drains, nothing is restarted, and a change of its files is looked at.
#[test]
fn one_that_wants_no_part_is_left_alone_until_its_files_change() {
    let mut d = Driven::serving();
    d.on(Event::FilesChanged);
    d.on(Event::Spawned { generation: nth(2), pid: 7 });
    d.on(Event::Reported { generation: nth(2), worst: None, exclusive: false });
    let why = Why { reason: "stands alone".to_owned(), file: None };
    let actions = d.on(Event::Apart { generation: nth(2), why: why.clone() });
    assert!(actions.contains(&Action::StopAccepting { generation: nth(1) }), "{actions:?}");
    assert_eq!((d.state.observed(), d.state.desired_running()), ("draining", false));
    d.on(Event::AcceptStopped { generation: nth(1) });
    for generation in [nth(1), nth(2)] {
        d.on(Event::Exited { generation, exit: Exit::Code(0) });
    }
    assert_eq!((d.state.observed(), d.state.restarts(), d.state.why()), ("standalone", 0, Some(&why)));
    assert_eq!(d.tick(secs(1000)), []);
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(3) }]);
    assert_eq!(d.state.observed(), "starting");
}

#[test]
fn a_parked_one_drains_and_rests_until_it_is_started() {
    let mut d = Driven::serving();
    assert_eq!(d.on(Event::Park), [Action::StopAccepting { generation: nth(1) }]);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("draining", false));
    d.on(Event::AcceptStopped { generation: nth(1) });
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((d.state.observed(), d.state.verdict(Goal::Gone)), ("parked", Some(Ok(()))));
    assert_eq!(d.on(Event::FilesChanged), []);
    assert_eq!(d.on(Event::Stop), []);
    assert_eq!(d.state.observed(), "stopped");
    d.on(Event::Park);
    assert_eq!(d.on(Event::Start), [Action::Spawn { generation: nth(2) }]);
}
