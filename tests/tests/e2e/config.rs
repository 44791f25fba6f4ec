//! `hermes config` and a gateway that runs: a change takes effect by itself, and what an administrator pins holds in workers.

use hermes_tests::command::run;
use hermes_tests::{Gateway, Home, wait};

#[test]
fn a_change_is_taken_over_by_the_running_gateway() {
    let home = Home::new();
    home.profile("coder").profile("other");
    let gateway = Gateway::start(&home);
    let (before, other) = (gateway.worker("coder"), gateway.worker("other"));
    let args = ["-p", "coder", "config", "set", "platforms.api_server.model_name", "renamed"];
    let said = run(&home, &args).ok();
    assert!(said.contains("the running gateway takes it over by itself"), "{said}");
    wait::until_true("the model's new name", || {
        let models = gateway.get("/p/coder/v1/models", &Home::key("coder"));
        models.status == 200 && models.text().contains("\"renamed\"")
    });
    assert_ne!(gateway.worker("coder"), before);
    assert_eq!(gateway.worker("other"), other, "nobody else was touched");
}

#[test]
fn a_gateway_that_does_not_serve_the_profile_is_not_promised_to_notice() {
    let home = Home::with_config(&Home::config("false", ""));
    home.profile("coder");
    let _gateway = Gateway::start(&home);
    let said = |profile: &str| run(&home, &["-p", profile, "config", "set", "timezone", "UTC"]).ok();
    assert!(!said("coder").contains("running gateway"));
    assert!(said("default").contains("the running gateway takes it over by itself"));
}

#[test]
fn what_an_administrator_pins_holds_in_every_worker() {
    let home = Home::new();
    home.profile("coder");
    let pins = home.user().join("etc");
    fs_err::create_dir(&pins).unwrap();
    fs_err::write(pins.join("config.yaml"), "platforms: {api_server: {model_name: pinned}}\n").unwrap();
    home.write(
        "coder",
        ".env",
        &format!("API_SERVER_KEY={}\nAPI_SERVER_MODEL_NAME=mine\n", Home::key("coder")),
    );
    let mut gateway = Gateway::spawn(&home, &[], &[("HERMES_MANAGED_DIR", pins.as_str())]);
    gateway.wait_settled();
    let models = gateway.get("/p/coder/v1/models", &Home::key("coder"));
    assert!(models.text().contains("\"pinned\"") && !models.text().contains("mine"), "{}", models.text());
    // What is pinned and cannot be read is not guessed: the last good worker goes on, a new one does not start.
    fs_err::write(pins.join("config.yaml"), "platforms: [\n").unwrap();
    run(&home, &["gateway", "restart", "-p", "coder"]).fails(78);
    assert!(gateway.get("/p/coder/v1/models", &Home::key("coder")).text().contains("\"pinned\""));
}
