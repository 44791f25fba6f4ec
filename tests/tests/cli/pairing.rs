//! `hermes pairing`: what is printed, what is on disk afterwards, and exit codes that tell the truth.

use std::time::UNIX_EPOCH;

use hermes_tests::command::{run, transcript};
use hermes_tests::{Home, wait};
use hermes_wire::contract::pairing::pending;
use serde_json::{Value, json};

/// Somebody has asked, and has this code.
fn ask(home: &Home, profile: &str, code: &'static str, user: &str, name: &str) -> &'static str {
    let now = wait::system().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let requests = json!({"3f2a9c01de3f2a9c": pending(code, [7; 16], user, name, now)});
    home.write(profile, "platforms/pairing/telegram-pending.json", &requests.to_string());
    code
}

#[test]
fn nobody_asked_yet() {
    let home = Home::with_config(&Home::config("true", ""));
    assert_eq!(
        transcript(
            &home,
            &[
                "pairing list",
                "pairing clear-pending",
                "pairing revoke telegram 123",
                "pairing approve Telegram abcdefgh"
            ]
        ),
        "$ hermes pairing list\nNo pairing data found. No one has tried to pair yet~\n\
         $ hermes pairing clear-pending\nNo pending requests to clear.\n\
         $ hermes pairing revoke telegram 123\n! Error: User 123 not found in approved list for telegram.\n=> exit 1\n\
         $ hermes pairing approve Telegram abcdefgh\n! Error: Code 'ABCDEFGH' not found or expired for platform 'telegram'.\n! \n\
         ! hint: Run 'hermes pairing list' to see pending requests.\n=> exit 1\n"
    );
    assert_eq!(run(&home, &["pairing", "approve", "telegram"]).code, Some(2));
    assert_eq!(run(&home, &["pairing", "approve", "../x", "ABCDEFGH"]).code, Some(2));
}

/// A list that is set goes with what is approved and revoked; one that is not set is never made, and comments stay.
#[test]
fn an_approval_is_kept_in_step_with_the_variable_that_is_set() {
    let home = Home::with_config(&Home::config("true", ""));
    home.profile("coder");
    let before = home.read("default", ".env").unwrap_or_default();
    home.write("default", ".env", &format!("{before}# friends\nTELEGRAM_ALLOWED_USERS=1 # me\n"));
    let (ann, bob) =
        (ask(&home, "default", "6PWQY2UH", "777", "Ann"), ask(&home, "coder", "ABCDEFGH", "778", "Bob"));
    assert_eq!(run(&home, &["pairing", "approve", "telegram", bob]).code, Some(1), "coder's code is coder's");
    let said = run(&home, &["pairing", "approve", "telegram", ann]).ok();
    assert_eq!(
        said,
        "Approved! User Ann (777) on telegram can now use the bot~\nThey'll be recognized automatically on their next message.\n\
         TELEGRAM_ALLOWED_USERS in .env names them as well.\n"
    );
    let env = home.read("default", ".env").unwrap();
    assert!(
        env.contains("# friends\nTELEGRAM_ALLOWED_USERS=") && env.contains("1,777") && env.contains("# me"),
        "{env}"
    );
    let said: Value = serde_json::from_str(
        &run(&home, &["-p", "coder", "pairing", "approve", "telegram", bob, "--json"]).ok(),
    )
    .unwrap();
    assert_eq!(
        (&said["approved"], &said["user_id"], &said["variable"]),
        (&json!(true), &json!("778"), &Value::Null)
    );
    assert!(!home.read("coder", ".env").unwrap().contains("TELEGRAM"), "never made");
    let list: Value = serde_json::from_str(&run(&home, &["pairing", "list", "--json"]).ok()).unwrap();
    assert_eq!((list["approved"][0]["user_id"].clone(), list["pending"].clone()), (json!("777"), json!([])));
    let said = run(&home, &["pairing", "revoke", "telegram", "777"]);
    assert!(said.clone().ok().starts_with("Revoked access for user 777 on telegram.\n"), "{said:?}");
    let env = home.read("default", ".env").unwrap();
    assert!(env.contains("# me") && !env.contains("777"), "{env}");
}

#[test]
fn five_wrong_codes_lock_a_platform_and_a_request_still_lets_in() {
    let home = Home::with_config(&Home::config("true", ""));
    let code = ask(&home, "default", "6PWQY2UH", "777", "Ann");
    for _ in 0..5 {
        assert_eq!(run(&home, &["pairing", "approve", "telegram", "AAAAAAAA"]).code, Some(1));
    }
    let said = run(&home, &["pairing", "approve", "telegram", code]).fails(1);
    assert!(said.contains("Platform 'telegram' is locked out after too many failed approval attempts.\nLockout clears in ~60 minute(s)."), "{said}");
    let list: Value = serde_json::from_str(&run(&home, &["pairing", "list", "--json"]).ok()).unwrap();
    let request = list["pending"][0]["request"].as_str().unwrap();
    assert!(run(&home, &["pairing", "list"]).ok().contains(request));
    run(&home, &["pairing", "approve", "telegram", "--request", request]).ok();
}

/// A file that is broken is named, and nothing is done.
#[test]
fn a_broken_file_is_an_error() {
    let home = Home::with_config(&Home::config("true", ""));
    let code = ask(&home, "default", "6PWQY2UH", "777", "Ann");
    home.write("default", "platforms/pairing/telegram-approved.json", "[");
    for args in [
        &["pairing", "list"][..],
        &["pairing", "approve", "telegram", code],
        &["pairing", "revoke", "telegram", "1"],
    ] {
        let said = run(&home, args).fails(1);
        assert!(said.contains("telegram-approved.json"), "{args:?}: {said}");
    }
    home.write("default", "platforms/pairing/telegram-approved.json", "{}");
    run(&home, &["pairing", "approve", "telegram", code]).ok();
}
