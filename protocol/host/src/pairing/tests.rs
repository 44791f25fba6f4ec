//! The store of pairing against real files: limits, both places, what is broken, and many processes at once.

use std::os::unix::fs::PermissionsExt as _;

use hermes_wire::contract::pairing::{FAILURES, LIVES, LOCKED, PAUSE};
use serde_json::{Value, json};

use super::*;

struct Home {
    dir: tempfile::TempDir,
    pairing: Pairing,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let pairing = Pairing::of(&ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap()));
    Home { dir, pairing }
}

impl Home {
    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.dir.path().join(path)).unwrap()).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn code(&self, user: &str, now: f64) -> String {
        match self.pairing.issue("telegram", user, "Ann", now).unwrap() {
            Issued::Code(code) => code,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_code_lets_its_owner_in_once() {
    let home = home();
    assert!(!home.pairing.is_approved("telegram", ["777"]).unwrap());
    assert_eq!(home.pairing.list(0.0).unwrap(), Listing::default());
    let code = home.code("777", 1000.0);
    assert_eq!(home.pairing.issue("telegram", "777", "Ann", 1001.0).unwrap(), Issued::Silence);
    assert_eq!(home.pairing.approve("slack", &code, 1001.0).unwrap(), Outcome::Unknown);
    let typed = format!(" {} ", code.to_lowercase());
    let Outcome::Approved(person) = home.pairing.approve("telegram", &typed, 1002.0).unwrap() else {
        panic!()
    };
    assert_eq!((person.user_id.as_str(), person.user_name.as_str()), ("777", "Ann"));
    assert!(home.pairing.is_approved("telegram", ["1", "777"]).unwrap());
    assert!(!home.pairing.is_approved("slack", ["777"]).unwrap());
    assert_eq!(home.pairing.approve("telegram", &code, 1003.0).unwrap(), Outcome::Unknown, "twice");
    let approved = home.json("platforms/pairing/telegram-approved.json");
    assert_eq!(approved, json!({"777": {"user_name": "Ann", "approved_at": 1002.0}}));
    let mode = fs_err::metadata(home.dir.path().join("platforms/pairing/telegram-approved.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    assert!(
        home.pairing.revoke("telegram", "777").unwrap() && !home.pairing.revoke("telegram", "777").unwrap()
    );
    assert!(!home.pairing.is_approved("telegram", ["777"]).unwrap());
}

#[test]
fn limits_hold_for_a_platform_and_end() {
    let home = home();
    let issue = |platform: &str, user: &str, now| home.pairing.issue(platform, user, "", now).unwrap();
    let codes: Vec<String> = (1..=3).map(|n| home.code(&n.to_string(), 1000.0)).collect();
    assert_eq!(issue("telegram", "4", 1000.0), Issued::Refused);
    assert_eq!(issue("telegram", "4", 1001.0), Issued::Silence, "told once");
    assert!(matches!(issue("slack", "4", 1001.0), Issued::Code(_)));
    assert!(!home.pairing.may_answer("telegram", "4", 1001.0).unwrap());
    assert!(home.pairing.may_answer("telegram", "5", 1001.0).unwrap());
    // The same person again takes nobody's place.
    let again = home.code("1", 1000.0 + PAUSE);
    assert_eq!(home.pairing.approve("telegram", &codes[0], 1700.0).unwrap(), Outcome::Unknown);
    assert!(matches!(home.pairing.approve("telegram", &again, 1700.0).unwrap(), Outcome::Approved(_)));
    // Too late.
    assert_eq!(home.pairing.approve("telegram", &codes[1], 1001.0 + LIVES).unwrap(), Outcome::Unknown);
    let late = 1001.0 + LIVES;
    for _ in 1..FAILURES {
        assert_eq!(home.pairing.approve("telegram", "AAAAAAAA", late).unwrap(), Outcome::Unknown);
    }
    let Outcome::Locked(left) = home.pairing.approve("telegram", "AAAAAAAA", late).unwrap() else { panic!() };
    assert!(left > LOCKED - 1.0);
    assert_eq!(issue("telegram", "9", late), Issued::Refused);
    assert!(matches!(issue("telegram", "10", late + LOCKED), Issued::Code(_)));
}

#[test]
fn both_places_are_one_and_what_is_new_stands_where_the_python_program_writes_it() {
    let home = home();
    home.write("platforms/pairing/telegram-approved.json", r#"{"1": {"user_name": "New", "extra": [1]}}"#);
    home.write("pairing/telegram-approved.json", r#"{"2": {"user_name": "Old", "approved_at": 5.5}}"#);
    for id in ["1", "2"] {
        assert!(home.pairing.is_approved("telegram", [id]).unwrap(), "{id}");
    }
    assert_eq!(home.pairing.list(0.0).unwrap().approved.len(), 2);
    let code = home.code("3", 10.0);
    let request =
        home.json("pairing/telegram-pending.json").as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(home.pairing.list(11.0).unwrap().pending[0].1.request, request);
    assert_eq!(request.len(), 16);
    assert!(!code.is_empty());
    assert_eq!(home.pairing.approve_request("telegram", "nothing", 11.0).unwrap(), Outcome::Unknown);
    assert!(matches!(
        home.pairing.approve_request("telegram", &request[..8], 11.0).unwrap(),
        Outcome::Approved(_)
    ));
    assert_eq!(home.json("pairing/telegram-approved.json")["3"]["user_name"], "Ann");
    assert!(home.pairing.revoke("telegram", "1").unwrap());
    assert_eq!(home.json("platforms/pairing/telegram-approved.json"), json!({}));
    assert_eq!(home.json("pairing/telegram-approved.json")["2"]["approved_at"], 5.5, "kept as it is");
    home.code("4", 2000.0);
    assert_eq!(home.pairing.clear_pending(2001.0).unwrap(), 1);
    assert_eq!(home.pairing.clear_pending(2001.0).unwrap(), 0);
}

/// A file that says nothing is not an empty one.
#[test]
fn what_cannot_be_read_is_an_error_that_names_the_file() {
    let home = home();
    home.write("platforms/pairing/telegram-approved.json", "{\n\"777\": ");
    let error = home.pairing.is_approved("telegram", ["777"]).unwrap_err();
    assert!(matches!(error, PairingError::Shape { line: 2, .. }), "{error}");
    assert!(error.to_string().contains("telegram-approved.json"), "{error}");
    let code = home.code("7", 1.0);
    assert!(home.pairing.approve("telegram", &code, 2.0).is_err());
    assert!(home.pairing.list(2.0).is_err());
    assert_eq!(
        home.json("platforms/pairing/telegram-pending.json").as_object().unwrap().len(),
        1,
        "still asked"
    );
    fs_err::create_dir_all(home.dir.path().join("platforms/pairing/slack-approved.json")).unwrap();
    assert!(matches!(home.pairing.is_approved("slack", ["1"]), Err(PairingError::Read { .. })));
    assert!(matches!(home.pairing.is_approved("../x", ["1"]), Err(PairingError::Platform(_))));
}

/// However many ask at once, nobody's request is lost, and no more wait than may.
#[test]
fn writers_take_turns() {
    let home = home();
    let one = |n: usize| {
        let pairing = home.pairing.clone();
        std::thread::spawn(move || {
            let platform = format!("p{}", n % 4);
            pairing.issue(&platform, &n.to_string(), "", 1.0).unwrap()
        })
    };
    let threads: Vec<_> = (0..12).map(one).collect();
    let issued = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(issued.filter(|issued| matches!(issued, Issued::Code(_))).count(), 12);
    assert_eq!(home.pairing.list(2.0).unwrap().pending.len(), 12);
}
