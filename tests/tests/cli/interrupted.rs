//! Renaming and deleting, killed at every step: the old state is there or the new one, and the next command works. (Commands that
//! make a profile: `kill`.)

use camino::Utf8Path;
use hermes_tests::Home;
use hermes_tests::command::run;
use hermes_tests::steps::killed_at_every_step;
use hermes_tests::tools::have;

/// A profile with something of every kind, an alias and the sticky name.
fn prepared() -> Home {
    let home = Home::new();
    home.profile("coder");
    home.write("coder", "SOUL.md", "mine");
    home.write("coder", "skills/deep/er/SKILL.md", "x");
    home.write("coder", "memories/MEMORY.md", "remember");
    run(&home, &["profile", "alias", "coder"]).ok();
    run(&home, &["profile", "use", "coder"]).ok();
    home
}

/// Every file of a home with its contents.
fn files(path: &Utf8Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in path.read_dir_utf8().unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(
                files(entry.path()).into_iter().map(|(n, b)| (format!("{}/{n}", entry.file_name()), b)),
            );
        } else {
            all.push((entry.file_name().to_owned(), fs_err::read(entry.path()).unwrap()));
        }
    }
    all.sort();
    all
}

/// Names in `profiles/` that a list shows, and whether anything hidden but the makers' lock is left.
fn names(home: &Home) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<String> = home
        .root()
        .join("profiles")
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter(|name| name != ".hermes-making.lock")
        .collect();
    all.sort();
    all.into_iter().partition(|name| !name.starts_with('.'))
}

#[test]
fn a_rename_happens_or_does_not_and_is_finished_by_the_next_command() {
    if !have("strace") {
        return;
    }
    let args = ["profile", "rename", "coder", "dev"];
    let before = files(&prepared().of("coder"));
    let killed = killed_at_every_step(&args, prepared, |home, when| {
        let list = run(home, &["profile", "list"]);
        assert_eq!(list.code, Some(0), "{when}: {list:#?}");
        let (shown, hidden) = names(home);
        assert!(hidden.is_empty(), "{when}: {hidden:?}");
        let name = if shown == ["coder"] { "coder" } else { "dev" };
        assert_eq!(shown, [name], "{when}");
        assert_eq!(files(&home.of(name)), before, "{when}");
        assert!(list.out.contains(&format!("◆{name}")), "{when}: {}", list.out);
        let mut bin: Vec<_> =
            files(&home.user().join(".local/bin")).into_iter().map(|(name, _)| name).collect();
        // A temporary file of a killed command is swept by a later one, when it is certainly nobody's.
        bin.retain(|name| !name.starts_with('.'));
        assert_eq!(bin, [name], "{when}");
        if name == "coder" {
            run(home, &args).ok();
        }
    });
    assert!(killed > 10, "{killed}");
}

#[test]
fn a_deletion_leaves_the_whole_profile_or_none_of_it() {
    if !have("strace") {
        return;
    }
    let args = ["profile", "delete", "coder", "--yes"];
    let before = files(&prepared().of("coder"));
    let killed = killed_at_every_step(&args, prepared, |home, when| {
        let there = names(home).0 == ["coder"];
        if there {
            assert_eq!(files(&home.of("coder")), before, "{when}");
            run(home, &args).ok();
        }
        // What a killed deletion left behind is swept, and the name is free.
        let made = run(home, &["profile", "create", "coder"]);
        assert_eq!(made.code, Some(0), "{when}: {made:#?}");
        assert_eq!(names(home).1, Vec::<String>::new(), "{when}");
        assert!(home.read("coder", "memories/MEMORY.md").is_none(), "{when}");
    });
    assert!(killed > 5, "{killed}");
}
