//! What is read, written, refused and told of entries.

use proptest::prelude::*;

use super::*;

fn arguments(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn done(value: &Value, entries: &[&str], limit: usize) -> Result<Changed, Refusal> {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    apply(&change(&arguments(value), &entries, limit)?, &entries, limit)
}

fn error(value: &Value, entries: &[&str], limit: usize) -> String {
    done(value, entries, limit).unwrap_err().said["error"].as_str().unwrap().to_owned()
}

#[test]
fn sizes_are_said_as_0_19_0_says_them() {
    assert_eq!(usage(36, 2200), "1% — 36/2,200 chars");
    assert_eq!(usage(3000, 2200), "100% — 3,000/2,200 chars");
    assert_eq!(usage(0, 0), "0% — 0/0 chars");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(size(&["a".to_owned(), "ü".to_owned()]), 5);
    assert_eq!(parse(" a \n§\n\n§\nb§c\n§\na\n"), ["a", "b§c"]);
    assert!(is_whole("a\n§\nb\n", 10) && is_whole("", 0));
    assert!(!is_whole("a\n§\n\n§\nb", 10) && !is_whole("a \n§\nb", 10) && !is_whole("abc", 2));
}

#[test]
fn one_change_at_a_time() {
    let add = |content: &str| json!({"action": "add", "content": content});
    assert_eq!(done(&add(" b "), &["a"], 5).unwrap().entries, ["a", "b"]);
    assert_eq!(done(&add("a"), &["a"], 1).unwrap().message, "Entry already exists (no duplicate added).");
    assert_eq!(error(&add(" "), &[], 9), "Content cannot be empty.");
    assert_eq!(error(&add(""), &[], 9), "Content is required for 'add' action.");
    let full = done(&add("bcd"), &["a"], 6).unwrap_err();
    assert!(full.again);
    assert_eq!(full.said["usage"], "1/6");
    assert_eq!(full.said["current_entries"], json!(["a"]));
    assert!(full.said["error"].as_str().unwrap().starts_with(
        "Memory at 1/6 chars. Adding this entry (3 chars) would exceed the limit. Consolidate now: use 'replace' to merge"
    ));
    let replaced = json!({"action": "replace", "old_text": "b", "content": "c"});
    assert_eq!(done(&replaced, &["a", "xbx"], 9).unwrap().entries, ["a", "c"]);
    let removed = json!({"action": "remove", "old_text": "a"});
    let done_ = done(&removed, &["a", "b"], 9).unwrap();
    assert_eq!((done_.entries, done_.message.as_str()), (vec!["b".to_owned()], "Entry removed."));
    assert!(error(&removed, &["b"], 9).starts_with("No entry matched 'a'. Check current_entries below"));
    let several = done(&removed, &["ab", &"a".repeat(90)], 900).unwrap_err();
    assert_eq!(several.said["error"], "Multiple entries matched 'a'. Be more specific.");
    assert_eq!(several.said["matches"], json!(["ab", format!("{}...", "a".repeat(80))]));
    assert_eq!(error(&json!({"action": "remove", "old_text": " "}), &["b"], 9), "old_text cannot be empty.");
    assert!(error(&json!({"action": "remove"}), &["b"], 9).starts_with("'remove' needs old_text -- a short"));
    assert_eq!(error(&json!({}), &[], 9), "Unknown action ''. Use: add, replace, remove");
    assert!(error(&add("system prompt override"), &[], 99).starts_with("Blocked: content matches"));
}

#[test]
fn several_changes_are_all_made_or_none() {
    let batch = |operations: Value| json!({"operations": operations});
    let swap = batch(json!([{"action": "add", "content": "cc"}, {"action": "remove", "old_text": "a"}]));
    let done_ = done(&swap, &["a", "b"], 6).unwrap();
    assert_eq!(done_.entries, ["b", "cc"], "only the final size counts");
    assert_eq!(done_.message, "Applied 2 operation(s).");
    assert_eq!(
        error(
            &batch(json!([{"action": "add", "content": "c"}, {"action": "remove", "old_text": "z"}])),
            &["a"],
            9
        ),
        "Operation 2 (remove): no entry matched 'z'. No operations were applied (batch is all-or-nothing)."
    );
    assert!(
        error(&batch(json!([7])), &["a"], 9).starts_with("Operation 1 (unknown): unknown action. Use add, ")
    );
    assert_eq!(
        error(&batch(json!("x")), &[], 9),
        "operations must be a list of {action, content?, old_text?} objects."
    );
    let poisoned = batch(json!([{"action": "add", "content": "a\u{200b}"}]));
    assert!(error(&poisoned, &[], 9).starts_with("Operation 1: Blocked: "));
    assert!(
        error(&batch(json!([{"action": "add", "content": "abcd"}])), &["a"], 5)
            .starts_with("After applying all 1 operations, memory would be at 8/5 chars -- over the limit.")
    );
}

proptest! {
    /// What is written is read again as it was, whatever the entries are made of.
    #[test]
    fn entries_survive_being_written(contents in prop::collection::vec("[a-z§\n ü]{0,12}", 0..6)) {
        let mut entries = Vec::new();
        for content in contents {
            if let Ok(changed) = apply(&Change::Add(content), &entries, 1000) {
                entries = changed.entries;
            }
        }
        prop_assert_eq!(parse(&text(&entries)), entries.clone());
        prop_assert!(is_whole(&text(&entries), 1000));
    }
}
