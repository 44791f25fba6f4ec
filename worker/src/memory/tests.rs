//! Memories in real files: locks, links, drift, and what the prompt is shown.

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    home: ProfileHome,
    settings: Memory,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        Self { _dir: dir, home, settings: Memory::default() }
    }

    fn holding(file: &str) -> Self {
        let place = Self::new();
        fs_err::create_dir(place.home.path().join("memories")).unwrap();
        fs_err::write(path(&place.home, Target::Memory), file).unwrap();
        place
    }

    fn change(&self, arguments: &Value) -> Value {
        change(&self.home, &self.settings, arguments.as_object().unwrap(), &mut 0)
    }

    fn file(&self) -> String {
        fs_err::read_to_string(path(&self.home, Target::Memory)).unwrap()
    }

    fn backups(&self) -> Vec<String> {
        let dir = self.home.path().join("memories").read_dir_utf8().unwrap();
        let names = dir.map(|entry| entry.unwrap().file_name().to_owned());
        names.filter(|name| name.contains(".bak.")).collect()
    }
}

#[test]
fn an_entry_is_kept_as_0_19_0_keeps_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let said = place.change(&json!({"action": "add", "content": "likes tea", "target": "memory"}));
    assert_eq!(
        said.to_string(),
        r#"{"success":true,"done":true,"target":"memory","usage":"0% — 9/2,200 chars","entry_count":1,"message":"Entry added.","note":"Write saved. This update is complete — do not repeat it."}"#
    );
    place.change(&json!({"action": "add", "content": "two"}));
    assert_eq!(place.file(), "likes tea\n§\ntwo");
    let mode = fs_err::metadata(path(&place.home, Target::Memory)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.change(&json!({"action": "add", "content": "Ana", "target": "user"}));
    assert_eq!(fs_err::read_to_string(path(&place.home, Target::User)).unwrap(), "Ana");
    assert_eq!(
        place.change(&json!({"target": "x", "action": "add"}))["error"],
        "Invalid target 'x'. Use 'memory' or 'user'."
    );
}

#[test]
fn a_file_of_somebodys_own_hand_is_kept() {
    let by_hand = "one\n§\n\n§\n  two\n";
    let place = Place::holding(by_hand);
    for _ in 0..2 {
        let said = place.change(&json!({"action": "remove", "old_text": "one"}));
        assert!(said["error"].as_str().unwrap().starts_with("Refusing to write MEMORY.md: "), "{said}");
        assert_eq!(fs_err::read_to_string(said["drift_backup"].as_str().unwrap()).unwrap(), by_hand);
    }
    assert_eq!((place.file().as_str(), place.backups().len()), (by_hand, 1));
    place.change(&json!({"action": "add", "content": "three"}));
    assert_eq!(place.file(), "one\n§\n\n§\n  two\n§\nthree");
    fs_err::write(path(&place.home, Target::Memory), b"\xff").unwrap();
    let said = place.change(&json!({"action": "add", "content": "three"}));
    assert!(said["error"].as_str().unwrap().ends_with("it is not UTF-8"), "{said}");
}

#[test]
fn after_three_failures_of_a_turn_it_is_enough() {
    let mut place = Place::holding("old");
    place.settings.notes.limit = 5;
    let mut failures = 0;
    let mut add = |content: &str| {
        let arguments = json!({"action": "add", "content": content});
        change(&place.home, &place.settings, arguments.as_object().unwrap(), &mut failures)
    };
    for _ in 0..3 {
        assert_eq!(add("new")["usage"], "3/5");
    }
    let said = add("new");
    assert!(said["error"].as_str().unwrap().starts_with("Memory consolidation failed 4 times this turn."));
    assert_eq!(said["done"], true);
}

#[test]
fn what_is_off_or_wants_approval_is_not_written() {
    let mut place = Place::new();
    place.settings.write_approval = true;
    let add = json!({"action": "add", "content": "x"});
    assert!(place.change(&add)["error"].as_str().unwrap().contains("memory.write_approval"));
    place.settings.notes.enabled = false;
    assert!(place.change(&add)["error"].as_str().unwrap().starts_with("Memory is not available."));
    assert!(!place.home.path().join("memories").exists());
}

#[test]
fn the_block_shows_what_there_is_and_no_attack() {
    let place = Place::holding("likes tea\n§\nsystem prompt override");
    let block = |target| block(&file_text(&place.home, target, &place.settings), target, &place.settings);
    let text = block(Target::Memory);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "═".repeat(46));
    assert!(lines[1].starts_with("MEMORY (your personal notes) [") && lines[1].ends_with("/2,200 chars]"));
    assert_eq!(&lines[2..5], [lines[0], "likes tea", "§"]);
    assert!(
        lines[5].starts_with("[BLOCKED: MEMORY.md entry contained threat pattern(s): sys_prompt_override. ")
    );
    assert_eq!(block(Target::User), "");
    fs_err::write(path(&place.home, Target::Memory), b"\xff").unwrap();
    assert_eq!(block(Target::Memory), "");
}

/// Many turns at once lose nothing of each other.
#[test]
fn changes_at_the_same_time_are_all_kept() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let place = &place;
            scope.spawn(move || place.change(&json!({"action": "add", "content": format!("entry {n}")})));
        }
    });
    assert_eq!(entries::parse(&place.file()).len(), 8);
}
