//! Whole syncs of real directories, by both ways of putting a skill into its place, and every state a crash can leave.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::bundle::Bundled;
use super::install::{Swap, Workplace};
use super::manifest::Manifest;
use super::sync::{Home, Outcome};

const SWAPS: [Swap; 2] = [Swap::Exchange, Swap::TwoRenames];

fn old() -> Vec<Bundled> {
    vec![
        Bundled::new("a", "one", &[("SKILL.md", "one v1"), ("references/x.md", "x")]),
        Bundled::new("a", "two", &[("SKILL.md", "two v1")]),
        Bundled::new("b", "gone", &[("SKILL.md", "gone v1")]),
    ]
}

fn new() -> Vec<Bundled> {
    vec![
        Bundled::new("a", "one", &[("SKILL.md", "one v2"), ("references/y.md", "y")]),
        Bundled::new("a", "two", &[("SKILL.md", "two v2")]),
        Bundled::new("c", "three", &[("SKILL.md", "three v2")]),
    ]
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn home(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    fn skills(&self) -> Utf8PathBuf {
        self.home().join("skills")
    }

    fn sync(&self, swap: Swap, bundle: &[Bundled]) -> Outcome {
        Home::for_tests(self.home(), swap).sync(bundle).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.skills().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        fs_err::read_to_string(self.skills().join(path)).ok()
    }

    fn manifest(&self) -> String {
        self.read(".bundled_manifest").unwrap_or_default()
    }

    /// All files of a directory of skills, with their contents.
    fn files(&self, dir: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.skills().join(dir);
        let mut files = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            let Ok(entries) = dir.read_dir_utf8() else { continue };
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path().to_owned());
                } else {
                    let name = entry.path().strip_prefix(&root).unwrap().to_string();
                    files.insert(name, fs_err::read(entry.path()).unwrap());
                }
            }
        }
        files
    }

    /// Nothing of the work is left.
    #[track_caller]
    fn is_clean(&self) {
        assert!(!self.skills().join(".archive").exists(), "{:?}", self.files(".archive"));
    }
}

fn names(outcome: &Outcome) -> [Vec<&str>; 4] {
    [&outcome.new, &outcome.updated, &outcome.modified, &outcome.yours]
        .map(|names| names.iter().map(String::as_str).collect())
}

#[test]
fn a_home_is_filled_once_and_kept_up_to_date() {
    for swap in SWAPS {
        let place = Place::new();
        assert_eq!(names(&place.sync(swap, &old())), [vec!["one", "two", "gone"], vec![], vec![], vec![]]);
        assert_eq!(place.sync(swap, &old()), Outcome::default());
        let outcome = place.sync(swap, &new());
        assert_eq!(names(&outcome), [vec!["three"], vec!["one", "two"], vec![], vec![]]);
        assert_eq!(place.sync(swap, &new()), Outcome::default());
        assert_eq!(place.files("a/one").into_keys().collect::<Vec<_>>(), ["SKILL.md", "references/y.md"]);
        assert_eq!(place.read("a/two/SKILL.md").unwrap(), "two v2");
        assert_eq!(place.read("b/gone/SKILL.md").unwrap(), "gone v1", "files stay");
        let lines: String = new().iter().map(|s| format!("{}:{}\n", s.name, s.hash)).collect();
        let mut lines: Vec<_> = lines.lines().collect();
        lines.sort_unstable();
        assert_eq!(place.manifest().lines().collect::<Vec<_>>(), lines);
        place.is_clean();
    }
}

#[test]
fn what_the_user_did_is_respected() {
    for swap in SWAPS {
        let place = Place::new();
        place.write("own/three/SKILL.md", "---\nname: x\ndescription: y\n---\n");
        place.write("c/other/SKILL.md", "mine");
        place.sync(swap, &old());
        place.write("a/one/SKILL.md", "one, changed");
        fs_err::remove_dir_all(place.skills().join("a/two")).unwrap();
        let outcome = place.sync(swap, &new());
        assert_eq!(names(&outcome), [vec![], vec![], vec!["one"], vec!["three"]]);
        assert_eq!(place.read("a/one/SKILL.md").unwrap(), "one, changed");
        assert!(place.read("a/one/references/y.md").is_none() && place.read("a/two/SKILL.md").is_none());
        assert!(place.read("c/three/SKILL.md").is_none(), "the user's own of that name counts");
        // A changed one that is changed back is ours again.
        place.write("a/one/SKILL.md", "one v1");
        assert_eq!(names(&place.sync(swap, &new()))[1], ["one"]);
        place.is_clean();
    }
}

#[test]
fn present_identical_linked_suppressed_and_nameless_ones() {
    let place = Place::new();
    place.write("a/one/SKILL.md", "one v2");
    place.write("a/one/references/y.md", "y");
    place.write("a/two/SKILL.md", "two, by hand");
    place.write(".curator_suppressed", "three\n");
    place.write(".bundled_manifest", "two\nelsewhere:0123456789abcdef0123456789abcdef\n");
    let outcome = place.sync(Swap::Exchange, &new());
    assert_eq!(names(&outcome), [vec![], vec![], vec!["two"], vec![]]);
    assert_eq!(place.manifest(), format!("one:{}\ntwo:\n", new()[0].hash), "adopted, kept, forgotten");
    assert!(!place.skills().join("c").exists());

    let linked = Place::new();
    linked.sync(Swap::Exchange, &old());
    let real = linked.home().join("elsewhere");
    fs_err::rename(linked.skills().join("a/one"), &real).unwrap();
    std::os::unix::fs::symlink(&real, linked.skills().join("a/one")).unwrap();
    assert_eq!(names(&linked.sync(Swap::Exchange, &new()))[2], ["one"]);
    assert_eq!(fs_err::read_to_string(real.join("SKILL.md")).unwrap(), "one v1");
}

#[test]
fn a_failure_of_one_skill_stops_no_other_and_is_named() {
    let place = Place::new();
    place.write("x", "");
    std::os::unix::fs::symlink("nowhere", place.skills().join("c")).unwrap();
    let outcome = place.sync(Swap::Exchange, &new());
    assert_eq!(names(&outcome)[0], ["one", "two"]);
    assert!(outcome.errors.len() == 1 && outcome.errors[0].contains("skills/c"), "{:?}", outcome.errors);
    place.is_clean();
    place.write(".bundled_manifest", "one:\u{0}\n");
    fs_err::write(place.skills().join(".bundled_manifest"), b"\xff").unwrap();
    assert!(Home::for_tests(place.home(), Swap::Exchange).sync(&new()).is_err());
    assert_eq!(fs_err::read(place.skills().join(".bundled_manifest")).unwrap(), b"\xff");
}

#[test]
fn an_edit_in_the_last_moment_wins() {
    for swap in SWAPS {
        let place = Place::new();
        place.sync(swap, &old());
        let bundle = new();
        let work = Workplace::begin(&place.skills(), &[&bundle[0]], swap).unwrap();
        work.stage(&bundle[0]).unwrap();
        place.write("a/one/SKILL.md", "edited just now");
        assert!(!work.replace(&bundle[0], &old()[0].hash).unwrap());
        drop(work);
        let mut manifest = Manifest::read(&place.skills()).unwrap();
        assert!(super::install::recover(&place.skills(), &mut manifest).unwrap().is_empty());
        assert_eq!(place.read("a/one/SKILL.md").unwrap(), "edited just now");
        assert_eq!(place.files("a/one").len(), 2);
        place.is_clean();
    }
}

/// The home of a sync that died: `one` and `two` in their old version, work begun on `one`. Then `left` says what else is there.
fn died(left: impl Fn(&Place)) -> Place {
    let place = Place::new();
    place.sync(Swap::Exchange, &old());
    let bundle = new();
    drop(Workplace::begin(&place.skills(), &[&bundle[0], &bundle[2]], Swap::Exchange).unwrap());
    left(&place);
    place
}

const WORK: &str = ".archive/.hermes-sync";

/// Renames below `skills/`.
fn mv(place: &Place, from: &str, to: &str) {
    fs_err::rename(place.skills().join(from), place.skills().join(to)).unwrap();
}

fn write_v2(place: &Place, dir: &str) {
    place.write(&format!("{dir}/SKILL.md"), "one v2");
    place.write(&format!("{dir}/references/y.md"), "y");
}

/// What a crash leaves, and how that comes about.
type State<'a> = (&'a str, &'a dyn Fn(&Place));

#[test]
fn every_state_a_crash_leaves_is_finished_or_undone() {
    let states: [State<'_>; 9] = [
        ("nothing was staged", &|_| {}),
        ("half of one was staged", &|p| p.write(&format!("{WORK}/one.new/SKILL.md"), "one")),
        ("staged, not exchanged", &|p| write_v2(p, &format!("{WORK}/one.ready"))),
        ("exchanged", &|p| {
            mv(p, "a/one", &format!("{WORK}/one.ready"));
            write_v2(p, "a/one");
        }),
        ("moved away, its place empty", &|p| {
            mv(p, "a/one", &format!("{WORK}/one.bak"));
            write_v2(p, &format!("{WORK}/one.ready"));
        }),
        ("moved away and replaced", &|p| {
            mv(p, "a/one", &format!("{WORK}/one.bak"));
            write_v2(p, "a/one");
        }),
        ("known to be old", &|p| {
            mv(p, "a/one", &format!("{WORK}/one.old"));
            write_v2(p, "a/one");
        }),
        ("half removed", &|p| {
            p.write(&format!("{WORK}/one.old/references/x.md"), "x");
            fs_err::remove_dir_all(p.skills().join("a/one")).unwrap();
            write_v2(p, "a/one");
        }),
        ("a new one in place, not in the manifest", &|p| p.write("c/three/SKILL.md", "three v2")),
    ];
    for (state, left) in states {
        let place = died(left);
        let outcome = place.sync(Swap::Exchange, &new());
        assert_eq!(
            (&outcome.modified, &outcome.yours, &outcome.kept),
            (&vec![], &vec![], &vec![]),
            "{state}"
        );
        for skill in new() {
            let expected: BTreeMap<_, _> =
                skill.files.iter().map(|(p, t)| ((*p).to_owned(), t.as_bytes().to_vec())).collect();
            assert_eq!(place.files(skill.place().as_str()), expected, "{state}: {}", skill.name);
        }
        assert_eq!(place.sync(Swap::Exchange, &new()), Outcome::default(), "{state}");
        place.is_clean();
    }
}

#[test]
fn a_newer_release_finds_what_a_crashed_one_had_brought() {
    // Version 2 was in place and not yet in the manifest; version 3 must not take it for the user's.
    let place = died(|p| {
        mv(p, "a/one", &format!("{WORK}/one.ready"));
        write_v2(p, "a/one");
    });
    let newest = vec![Bundled::new("a", "one", &[("SKILL.md", "one v3")])];
    assert_eq!(names(&place.sync(Swap::Exchange, &newest))[1], ["one"]);
    assert_eq!(place.read("a/one/SKILL.md").unwrap(), "one v3");
}

#[test]
fn what_a_user_wrote_survives_a_crash_wherever_it_was() {
    // Edited between decision and exchange: it goes back.
    let place = died(|p| {
        p.write("a/one/SKILL.md", "mine");
        mv(p, "a/one", &format!("{WORK}/one.ready"));
        write_v2(p, "a/one");
    });
    assert_eq!(names(&place.sync(Swap::Exchange, &new()))[2], ["one"]);
    assert_eq!(place.read("a/one/SKILL.md").unwrap(), "mine");
    place.is_clean();
    // Both changed: the one in place stays, the other one is kept and named.
    let place = died(|p| {
        p.write("a/one/SKILL.md", "mine");
        mv(p, "a/one", &format!("{WORK}/one.ready"));
        p.write("a/one/SKILL.md", "mine too");
    });
    let outcome = place.sync(Swap::Exchange, &new());
    assert_eq!(outcome.kept, [place.skills().join(".archive/one-1")]);
    assert_eq!(place.read(".archive/one-1/SKILL.md").unwrap(), "mine");
    assert_eq!(place.read("a/one/SKILL.md").unwrap(), "mine too");
    // In work of which nothing is known any more.
    let place = died(|p| {
        p.write(&format!("{WORK}/one.ready/SKILL.md"), "mine");
        fs_err::remove_file(p.skills().join(WORK).join("pending")).unwrap();
    });
    assert_eq!(place.sync(Swap::Exchange, &new()).kept, [place.skills().join(".archive/one-1")]);
    assert_eq!(place.read(".archive/one-1/SKILL.md").unwrap(), "mine");
    // Moved away with changes, its place empty.
    let place = died(|p| {
        p.write("a/one/SKILL.md", "mine");
        mv(p, "a/one", &format!("{WORK}/one.bak"));
    });
    place.sync(Swap::Exchange, &new());
    assert_eq!(place.read("a/one/SKILL.md").unwrap(), "mine");
}

#[test]
fn a_list_of_work_cannot_lead_outside() {
    let place = Place::new();
    place.sync(Swap::Exchange, &old());
    let hash = &new()[0].hash;
    let lines = format!(
        "../x:{hash}:a/one\none:{hash}:../../etc\none:{hash}:/etc\none:{hash}:\n:{hash}:a\nnonsense\n"
    );
    place.write(&format!("{WORK}/pending"), &lines);
    let mut manifest = Manifest::read(&place.skills()).unwrap();
    assert!(super::install::recover(&place.skills(), &mut manifest).unwrap().is_empty());
    place.is_clean();
}

/// A change somebody makes to a skill.
#[derive(Debug, Clone)]
enum Edit {
    Contents(String),
    Add(String),
    Remove,
    EmptyDirectory,
    Link,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        ".{0,40}".prop_map(Edit::Contents),
        "[a-z]{1,8}(\\.md)?".prop_map(Edit::Add),
        Just(Edit::Remove),
        Just(Edit::EmptyDirectory),
        Just(Edit::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever somebody did to a skill, a sync changes no byte of it.
    #[test]
    fn a_changed_skill_is_never_touched(edits in prop::collection::vec(edit(), 1..4), exchange: bool) {
        let swap = if exchange { Swap::Exchange } else { Swap::TwoRenames };
        let place = Place::new();
        place.sync(swap, &old());
        let skill = place.skills().join("a/one");
        for edit in &edits {
            match edit {
                Edit::Contents(text) => fs_err::write(skill.join("SKILL.md"), text).unwrap(),
                Edit::Add(name) => fs_err::write(skill.join(name), "added").unwrap(),
                Edit::Remove => { let _ = fs_err::remove_file(skill.join("references/x.md")); }
                Edit::EmptyDirectory => { let _ = fs_err::create_dir(skill.join("notes")); }
                Edit::Link => { let _ = std::os::unix::fs::symlink("SKILL.md", skill.join("L")); }
            }
        }
        let before = place.files("a/one");
        let unchanged = old()[0].files.iter().all(|(p, t)| before.get(*p).is_some_and(|b| b == t.as_bytes()));
        let directory = skill.join("notes").exists();
        prop_assume!(!unchanged || before.len() != 2 || directory);
        let outcome = place.sync(swap, &new());
        prop_assert_eq!(place.files("a/one"), before);
        prop_assert_eq!(skill.join("notes").exists(), directory);
        prop_assert_eq!(outcome.modified, vec!["one".to_owned()]);
    }
}

/// Wires 15: 0.19.0 died while it updated a skill: the former one is at `NAME.bak`, in its place nothing or a part of the new one.
#[test]
fn what_the_old_program_left_of_an_update_comes_back() {
    for (there, expected) in [
        (&[][..], "one v2"),
        (&[("a/one/references/y.md", "y")], "one v2"),
        (&[("a/one/SKILL.md", "one")], "one v2"),
        (&[("a/one/SKILL.md", "one v2"), ("a/one/references/y.md", "y")], "one v2"),
        // The user went on with it.
        (&[("a/one/SKILL.md", "mine")], "mine"),
    ] {
        let place = Place::new();
        place.sync(Swap::Exchange, &old());
        fs_err::rename(place.skills().join("a/one"), place.skills().join("a/one.bak")).unwrap();
        for (path, text) in there {
            place.write(path, text);
        }
        place.sync(Swap::Exchange, &new());
        assert_eq!(place.read("a/one/SKILL.md").as_deref(), Some(expected), "{there:?}");
        assert!(!place.skills().join("a/one.bak").exists(), "{there:?}");
    }
    // The user's own of such a name is left alone.
    let place = Place::new();
    place.sync(Swap::Exchange, &old());
    place.write("a/notes.bak/SKILL.md", "mine");
    place.sync(Swap::Exchange, &new());
    assert_eq!(place.read("a/notes.bak/SKILL.md").as_deref(), Some("mine"));
}
