//! Turns in files that newer programs made: what a turn writes, with and without tools, is what their index says is there.

use std::collections::BTreeSet;

use super::direct::{answer, direct};
use super::*;
use crate::store::fixtures::{
    self, CJK, INLINE, LAYOUT_1, MIXED_PROMPTS, NO_TRIGRAM, REBUILDING, ROWS, STALE, V30,
};

/// Names of everything in the file that is not ours.
fn objects(home: &Home) -> BTreeSet<String> {
    let db = home.db();
    let mut select = db
        .prepare(
            "SELECT name FROM sqlite_schema WHERE tbl_name NOT LIKE 'hermes\\_%' ESCAPE '\\'
             AND tbl_name <> 'delivery_obligations'",
        )
        .unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// D22: an API turn with tools, a message from a webhook, and one more after a restart, in every state such a file can be in.
#[tokio::test]
async fn d22_turns_leave_a_newer_file_in_its_shape_and_its_index_whole() {
    for (scripts, is_rebuilt, dropped) in [
        (&[V30, ROWS][..], false, 0),
        (&[V30, LAYOUT_1, ROWS], false, 0),
        (&[V30, STALE, ROWS], true, 0),
        (&[V30, NO_TRIGRAM, ROWS], false, 0),
        (&[V30, REBUILDING, ROWS], true, 0),
        (&[V30, INLINE, ROWS], false, 0),
        (&[V30, ROWS, MIXED_PROMPTS], false, 0),
        (&[V30, ROWS, CJK], false, 3),
    ] {
        let home = Home::new();
        fixtures::make(&home.home.state_db(), scripts);
        let before = objects(&home);
        let process = home.start(Owner::current(), Scripted::with_tools(Semaphore::MAX_PERMITS));
        process.turns.serve_inbox();
        let named = || SessionRef::Continue("ours".to_owned());
        let outcome = answer(process.turns.start(direct(named(), "steps")).await.unwrap()).await.unwrap();
        assert_eq!(outcome.text, "made it");
        accept(&process, event("a", "1", "a needle from outside")).await;
        home.wait("EXISTS (SELECT 1 FROM hermes_inbox WHERE state = 'done')").await;
        process.stop().await;
        let process = home.start(Owner::current(), Scripted::with_tools(Semaphore::MAX_PERMITS));
        answer(process.turns.start(direct(named(), "steps")).await.unwrap()).await.unwrap();
        process.stop().await;
        let db = home.db();
        if is_rebuilt {
            fixtures::rebuild_search(&db).unwrap();
        }
        fixtures::check_search(&db).unwrap();
        let after = objects(&home);
        assert_eq!((before.difference(&after).count(), after.difference(&before).count()), (dropped, 0));
        assert_eq!(home.count("schema_version WHERE version = 30"), 1);
        assert_eq!(home.count("messages_fts WHERE messages_fts MATCH 'needle'"), 2);
        assert_eq!(home.count("messages WHERE id > 9 AND display_order = id"), 12);
        assert_eq!(home.count("pragma_foreign_key_check"), 0);
    }
}
