//! Help is complete and free: it needs no home and touches nothing.

use hermes_tests::Home;
use hermes_tests::command::run;

#[test]
fn help_of_every_command_answers_without_a_home() {
    let home = Home::empty();
    for command in ["profile", "config", "setup", "skills", "update", "doctor", "gateway", "status"] {
        let text = run(&home, &[command, "--help"]).ok();
        assert!(text.contains("Usage: hermes"), "{text}");
    }
    assert_eq!(fs_err::read_dir(home.root()).unwrap().count(), 0);
}
