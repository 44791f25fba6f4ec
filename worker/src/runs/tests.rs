//! Rows and logs of runs in a database of their own.

use serde_json::json;

use super::*;

fn db() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(include_str!("../store/ours.sql")).unwrap();
    db
}

fn begun(db: &Connection, id: &str, at: f64) {
    let new = New { id, platform: "api", session_id: "s", model: "m", request: "{}", key: None };
    put(db, &new, at).unwrap();
    db.execute(
        "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, received_at, state)
         VALUES ('api', 'run', ?1, 's', ?2, 'waiting')",
        params![id, at],
    )
    .unwrap();
}

fn item(db: &Connection, state: &str) {
    db.execute("UPDATE hermes_inbox SET state = ?1, owner_pid = 1, owner_start = 2", [state]).unwrap();
}

fn state(db: &Connection, id: &str) -> State {
    find(db, id, 2.0).unwrap().unwrap().state
}

fn said(name: &str, text: &str) -> Map<String, Value> {
    let mut said = event(name);
    said.insert("delta".to_owned(), text.into());
    said
}

fn names(page: &Page) -> Vec<String> {
    let name = |(_, text): &(i64, String)| {
        serde_json::from_str::<Value>(text).unwrap()["event"].as_str().unwrap().to_owned()
    };
    page.events.iter().map(name).collect()
}

fn log(db: &Connection, id: &str, after: i64) -> Page {
    page(db, id, after, ((1, 2), 2.0)).unwrap().unwrap()
}

const NOTHING: Tokens = Tokens { input: 0, output: 0 };

#[test]
fn the_state_is_that_of_the_item_until_there_is_an_end() {
    let db = db();
    assert!(find(&db, "run_1", 1.0).unwrap().is_none());
    begun(&db, "run_1", 1.0);
    for (item_state, expected) in [
        ("waiting", State::Queued),
        ("queued", State::Queued),
        ("postponed", State::Queued),
        ("claimed", State::Running),
    ] {
        item(&db, item_state);
        assert_eq!(state(&db, "run_1"), expected, "{item_state}");
    }
    db.execute(
        "INSERT INTO hermes_question(scope, kind, asked_at, until) VALUES ('run_1', 'approval', 1, 3)",
        [],
    )
    .unwrap();
    assert_eq!(state(&db, "run_1"), State::WaitingForApproval);
    stop(&db, "run_1", 2.0).unwrap();
    assert_eq!(state(&db, "run_1"), State::Stopping);
    assert!(is_unwanted(&db, "run_1").unwrap());
    end(&db, "run_1", &End::Cancelled { tokens: NOTHING }, 2.0).unwrap();
    assert_eq!(state(&db, "run_1"), State::Cancelled);
    // There is one end.
    end(&db, "run_1", &End::Failed { error: "late", tokens: NOTHING }, 2.0).unwrap();
    assert_eq!(state(&db, "run_1"), State::Cancelled);
    assert_eq!(names(&log(&db, "run_1", 0)), ["run.cancelled"]);
}

#[test]
fn a_log_is_read_from_anywhere_and_by_anybody() {
    let db = db();
    begun(&db, "run_1", 1.0);
    item(&db, "claimed");
    append(&db, "run_1", &[said("message.delta", "a"), said("message.delta", "b")], 1.5).unwrap();
    let first = log(&db, "run_1", 0);
    assert_eq!((first.events.len(), first.is_last, first.is_here), (2, false, true));
    assert!(!page(&db, "run_1", 0, ((1, 3), 2.0)).unwrap().unwrap().is_here);
    spend(&db, "run_1", Tokens { input: 10, output: 1 }).unwrap();
    let tokens = Tokens { input: 3, output: 2 };
    end(&db, "run_1", &End::Completed { output: "ab", finish_reason: "length", tokens }, 2.0).unwrap();
    for _ in 0..2 {
        let rest = log(&db, "run_1", 1);
        assert_eq!(
            (names(&rest), rest.is_last),
            (vec!["message.delta".to_owned(), "run.completed".to_owned()], true)
        );
        let last: Value = serde_json::from_str(&rest.events[1].1).unwrap();
        assert_eq!(
            last,
            json!({"event": "run.completed", "run_id": "run_1", "timestamp": 2.0, "output": "ab", "finish_reason": "length",
                   "usage": {"input_tokens": 13, "output_tokens": 3, "total_tokens": 16}})
        );
    }
    assert_eq!(log(&db, "run_1", 3), Page { is_last: true, ..log(&db, "run_1", 3) });
    let run = find(&db, "run_1", 2.0).unwrap().unwrap();
    assert_eq!(
        (run.output.as_deref(), run.tokens.input, run.last_event.as_deref()),
        (Some("ab"), 13, Some("run.completed"))
    );
    assert_eq!(page(&db, "run_2", 0, ((1, 2), 2.0)).unwrap(), None);
}

/// What is many is left out when the log is full, and that is said; what a client must know is not.
#[test]
fn a_log_is_bounded_and_says_so() {
    let db = db();
    begun(&db, "run_1", 1.0);
    let big = "x".repeat(1 << 20);
    for _ in 0..6 {
        append(&db, "run_1", &[said("message.delta", &big)], 1.0).unwrap();
    }
    append(&db, "run_1", &[event("approval.request")], 1.0).unwrap();
    end(&db, "run_1", &End::Completed { output: &big, finish_reason: "stop", tokens: NOTHING }, 2.0).unwrap();
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = log(&db, "run_1", after);
        assert!(page.events.len() <= 3, "a page is bounded, too");
        all.extend(names(&page));
        after = page.events.last().map_or(after, |(seq, _)| *seq);
        if page.is_last {
            break;
        }
    }
    let pieces = all.iter().filter(|name| *name == "message.delta").count();
    assert_eq!(pieces, 4);
    assert_eq!(all[pieces..], ["log.truncated", "approval.request", "run.completed"]);
}

/// An item that is taken away from outside leaves its run with an honest end, for every reader.
#[test]
fn a_run_whose_item_is_gone_has_failed() {
    let db = db();
    begun(&db, "run_1", 1.0);
    append(&db, "run_1", &[said("message.delta", "a")], 1.0).unwrap();
    db.execute("DELETE FROM hermes_inbox", []).unwrap();
    let run = find(&db, "run_1", 2.0).unwrap().unwrap();
    assert_eq!((run.state, run.error.as_deref()), (State::Failed, Some("the run is gone")));
    let page = log(&db, "run_1", 0);
    assert_eq!(
        (names(&page), page.is_last),
        (vec!["message.delta".to_owned(), "run.failed".to_owned()], true)
    );
    assert!(log(&db, "run_1", page.events[1].0).events.is_empty());
    assert_eq!(unfinished(&db).unwrap(), 1);
    prune(&db, 2.0 + KEPT, 10).unwrap();
    assert_eq!(unfinished(&db).unwrap(), 0);
}

#[test]
fn keys_hold_for_a_day_and_what_is_over_is_forgotten_after_it() {
    let db = db();
    let new =
        |id| New { id, platform: "api", session_id: "s", model: "m", request: "{}", key: Some(("k", "f")) };
    put(&db, &new("run_1"), 1.0).unwrap();
    assert_eq!(with_key(&db, "k", 2.0).unwrap(), Some(("run_1".to_owned(), "f".to_owned())));
    assert_eq!(with_key(&db, "other", 2.0).unwrap(), None);
    let late = 2.0 + KEPT;
    assert!(with_key(&db, "k", late).unwrap().is_some(), "it is not over");
    end(&db, "run_1", &End::Failed { error: "e", tokens: NOTHING }, 3.0).unwrap();
    assert_eq!(with_key(&db, "k", late).unwrap(), None);
    put(&db, &new("run_2"), late).unwrap();
    assert!(!prune(&db, late, 10).unwrap());
    assert!(find(&db, "run_1", late).unwrap().is_some());
    prune(&db, late + 2.0, 10).unwrap();
    assert!(find(&db, "run_1", late).unwrap().is_none());
    assert_eq!(db.query_row("SELECT count(*) FROM hermes_run_event", [], |row| row.get(0)), Ok(0));
    assert!(find(&db, "run_2", late).unwrap().is_some());
}

/// What is to be put into a run waits with it, so many texts; what is taken is in the log, and what came too late in the end.
#[test]
fn texts_for_a_run_wait_are_taken_once_and_are_not_lost_with_its_end() {
    let db = db();
    begun(&db, "run_1", 1.0);
    begun(&db, "run_2", 1.0);
    assert_eq!(take_steers(&db, "run_1", 1.0).unwrap(), Vec::<String>::new());
    assert!(log(&db, "run_1", 0).events.is_empty());
    for text in ["one", "two"] {
        assert!(steer(&db, "run_1", text.to_owned(), 2.0).unwrap());
    }
    assert!(take_steers(&db, "run_2", 2.0).unwrap().is_empty(), "another run's");
    assert_eq!(find(&db, "run_1", 2.0).unwrap().unwrap().steers, ["one", "two"]);
    assert_eq!(take_steers(&db, "run_1", 2.0).unwrap(), ["one", "two"]);
    assert!(take_steers(&db, "run_1", 2.0).unwrap().is_empty());
    assert_eq!(names(&log(&db, "run_1", 0)), ["run.steered", "run.steered"]);
    for n in 0..STEERS {
        assert!(steer(&db, "run_1", n.to_string(), 2.0).unwrap());
    }
    assert!(!steer(&db, "run_1", "too many".to_owned(), 2.0).unwrap());
    db.execute("UPDATE hermes_run SET steers = '[\"late\",\"later\"]' WHERE id = 'run_1'", []).unwrap();
    end(&db, "run_1", &End::Cancelled { tokens: NOTHING }, 3.0).unwrap();
    let last = log(&db, "run_1", 2).events.pop().unwrap().1;
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["pending_steer"], "late\nlater");
    let over = find(&db, "run_1", 3.0).unwrap().unwrap();
    assert_eq!((over.state, pending(&over.steers).as_deref()), (State::Cancelled, Some("late\nlater")));
    assert!(take_steers(&db, "run_1", 4.0).unwrap().is_empty(), "it is over");
    assert_eq!(pending(&[]), None);
}

/// Newer runs push out the oldest that are over, and none that is not.
#[test]
fn all_of_them_together_are_bounded() {
    let db = db();
    for n in 0..4 {
        begun(&db, &format!("run_{n}"), f64::from(n));
        db.execute("UPDATE hermes_run SET bytes = ?1 WHERE id = ?2", params![ROOM / 2, format!("run_{n}")])
            .unwrap();
        if n > 0 {
            end(&db, &format!("run_{n}"), &End::Cancelled { tokens: NOTHING }, f64::from(n)).unwrap();
        }
    }
    prune(&db, 10.0, 10).unwrap();
    let left: Vec<String> = db
        .prepare("SELECT id FROM hermes_run ORDER BY id")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(left, ["run_0"]);
}
