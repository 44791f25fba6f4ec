//! Commands that make a profile, killed at every step: the whole profile is there or nothing is, and the next command works.
//!
//! `strace` kills the real process as it enters a system call that changes something: for every such call, the first, the second
//! and so on, until the command makes fewer of them and lives to its end.

use camino::Utf8Path;
use hermes_tests::Home;
use hermes_tests::archive::Tar;
use hermes_tests::command::run;
use hermes_tests::steps::{killed_at, steps};
use hermes_tests::tools::have;

/// Every path below a directory, with what is in the files.
fn tree(dir: &Utf8Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in next.read_dir_utf8().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(dir).unwrap().to_string();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path().to_owned());
            }
            let content = if kind.is_file() { fs_err::read(entry.path()).unwrap() } else { Vec::new() };
            all.push((path, content));
        }
    }
    all.sort();
    all
}

/// Kills the command at every step.
fn at_every_step(prepare: fn(&Home), args: &[&str]) {
    let fresh = || {
        let home = Home::new();
        prepare(&home);
        home
    };
    let whole = {
        let home = fresh();
        run(&home, &words(&home, args)).ok();
        tree(&home.of("new"))
    };
    let mut home = fresh();
    let (mut before, mut after) = (0, 0);
    for call in steps() {
        for n in 1.. {
            let lived = match killed_at(&home, &words(&home, args), call, n) {
                Some(ran) => !ran.ok().is_empty(),
                None => false,
            };
            let made = home.of("new").exists();
            if made {
                assert_eq!(tree(&home.of("new")), whole, "killed at {call:?} {n}");
            }
            if !lived {
                *if made { &mut after } else { &mut before } += 1;
                // The next command sees no half profile, and works.
                let list = run(&home, &["profile", "list"]).ok();
                assert_eq!(list.contains(" new "), made, "killed at {call:?} {n}: {list}");
            }
            if made {
                assert_eq!(
                    leftovers(&home),
                    Vec::<String>::new(),
                    "made behind one that was killed at {call:?}"
                );
                home = fresh();
            }
            if lived {
                break;
            }
        }
    }
    assert!(before > 40 && after > 2, "killed before ({before}) and after ({after}) it appeared");
}

/// Hidden directories of commands that were killed; the next one that makes something sweeps them.
fn leftovers(home: &Home) -> Vec<String> {
    let all =
        home.root().join("profiles").read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned());
    all.filter(|name| name.starts_with(".hermes-") && name != ".hermes-making.lock").collect()
}

fn words<'a>(home: &Home, args: &[&'a str]) -> Vec<&'a str> {
    // Leaked: a handful of short texts of a test.
    let archive: &'static str = home.user().join("a.tgz").into_string().leak();
    args.iter().map(|word| if *word == "ARCHIVE" { archive } else { word }).collect()
}

#[test]
fn create() {
    if !have("strace") {
        return;
    }
    at_every_step(|_| {}, &["profile", "create", "new", "--description", "d", "--no-alias"]);
}

#[test]
fn clone() {
    if !have("strace") {
        return;
    }
    let prepare = |home: &Home| {
        home.profile("coder");
        home.write("coder", "skills/a/SKILL.md", "a").write("coder", "memories/MEMORY.md", "m");
        std::os::unix::fs::symlink("a", home.of("coder").join("skills/b")).unwrap();
    };
    at_every_step(
        prepare,
        &["profile", "create", "new", "--clone-all", "--clone-from", "coder", "--no-alias"],
    );
}

#[test]
fn import() {
    if !have("strace") {
        return;
    }
    let prepare = |home: &Home| {
        let tar = Tar::default()
            .file("c/SOUL.md", "soul")
            .file("c/skills/a/SKILL.md", &"long ".repeat(1000))
            .link("c/skills/b", "a")
            .file("c/cron/jobs.json", "[]");
        fs_err::write(home.user().join("a.tgz"), tar.gz()).unwrap();
    };
    at_every_step(prepare, &["profile", "import", "ARCHIVE", "--name", "new"]);
}

/// What is killed while it writes an archive leaves the older archive as it was.
#[test]
fn export() {
    if !have("strace") {
        return;
    }
    let home = Home::new();
    home.profile("coder");
    let out = home.user().join("a");
    let archive = home.user().join("a.tar.gz");
    run(&home, &["profile", "export", "coder", "-o", out.as_str()]).ok();
    let old = fs_err::read(&archive).unwrap();
    home.write("coder", "SOUL.md", "another soul");
    let (mut kept, mut replaced) = (0, 0);
    for call in steps() {
        for n in 1.. {
            if let Some(ran) = killed_at(&home, &["profile", "export", "coder", "-o", out.as_str()], call, n)
            {
                ran.ok();
                break;
            }
            let now = fs_err::read(&archive).unwrap();
            *if now == old { &mut kept } else { &mut replaced } += 1;
            assert!(
                hermes_tests::archive::names(&now).contains(&"coder/config.yaml".to_owned()),
                "{call:?} {n}"
            );
            if now != old {
                fs_err::write(&archive, &old).unwrap();
            }
        }
        fs_err::write(&archive, &old).unwrap();
    }
    assert!(kept > 10 && replaced > 0, "{kept} {replaced}");
}
