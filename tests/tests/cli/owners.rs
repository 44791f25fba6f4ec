//! Wires 14: whose files are after a command, and files that cannot be replaced by a rename.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::Home;
use hermes_tests::command::{Ran, run};
use hermes_tests::gateway::{binary, hermes};
use hermes_tests::owners::{give, strangers};

const USER: u32 = 12345;

/// Wires 14: `sudo hermes …` in a user's home leaves nothing that is root's.
#[test]
fn root_leaves_nothing_of_its_own_in_a_users_home() {
    let home = Home::new();
    home.profile("coder");
    fs_err::create_dir_all(home.user().join(".local")).unwrap();
    if !give(&[&home.root(), &home.user()], USER) {
        return;
    }
    for args in [
        &["config", "set", "model.default", "a/b"][..],
        &["config", "set", "OPENAI_API_KEY", "sk-0123456789"],
        &["-p", "coder", "config", "set", "agent.max_turns", "5"],
        &["profile", "create", "fresh"],
        &["profile", "create", "copy", "--clone-from", "coder"],
        &["profile", "create", "whole", "--clone-all", "--clone-from", "coder"],
        &["profile", "rename", "copy", "copied"],
        &["profile", "describe", "coder", "--text", "x"],
        &["profile", "use", "coder"],
        &["profile", "use", "default"],
        &["profile", "alias", "coder", "--name", "coco"],
        &["update", "--skills-only"],
        &["setup", "--set", "model.default=c/d"],
    ] {
        let ran = run(&home, args);
        assert!(ran.code != Some(2), "{args:?}: {ran:?}");
    }
    let ran: Ran =
        hermes(&home, &["profile", "export", "coder"]).current_dir(home.user()).output().unwrap().into();
    ran.ok();
    let archive = home.user().join("coder.tar.gz");
    run(&home, &["profile", "import", archive.as_str(), "imported"]).ok();
    for root in [home.root(), home.user()] {
        assert_eq!(strangers(&root, USER), Vec::<String>::new());
    }
    assert!(home.of("imported").is_dir() && home.user().join(".local/bin/coco").exists());
}

/// Wires 14: a home that does not exist yet belongs to whom the directory around it belongs.
#[test]
fn a_home_that_root_makes_is_the_users() {
    let home = Home::empty();
    if !give(&[&home.user()], USER) {
        return;
    }
    let root = home.user().join(".hermes");
    let ran: Ran = hermes(&home, &["config", "set", "model.default", "a/b"])
        .env("HERMES_HOME", &root)
        .output()
        .unwrap()
        .into();
    ran.ok();
    assert!(root.join("config.yaml").exists());
    assert_eq!(strangers(&home.user(), USER), Vec::<String>::new());
}

/// Runs a shell script in a mount namespace of its own.
#[expect(clippy::disallowed_methods, reason = "the harness starts the program under test")]
fn mounted(home: &Home, script: &str) -> Ran {
    std::process::Command::new("unshare")
        .args(["-m", "sh", "-ec", script])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home.user())
        .env("HERMES_HOME", home.root())
        .env("XDG_RUNTIME_DIR", home.runtime())
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into()
}

/// Wires 14: files that are mounted on their own, as containers do, are written in place; nothing is left beside them.
#[test]
fn a_file_that_is_mounted_on_its_own_is_written() {
    if !hermes_tests::tools::have("unshare") {
        return;
    }
    let home = Home::new();
    home.profile("coder");
    let outside = home.user().join("outside");
    fs_err::create_dir(&outside).unwrap();
    for name in ["config.yaml", ".env"] {
        fs_err::copy(home.of("coder").join(name), outside.join(name)).unwrap();
    }
    let inode = fs_err::metadata(outside.join("config.yaml")).unwrap().ino();
    let (coder, program) = (home.of("coder"), binary());
    let program = program.to_str().unwrap();
    let mount = format!(
        "mount --bind {outside}/config.yaml {coder}/config.yaml && mount --bind {outside}/.env {coder}/.env || exit 99\n"
    );
    let ran = mounted(
        &home,
        &format!(
            "{mount}{program} -p coder config set agent.max_turns 7\n{program} -p coder config set OPENAI_API_KEY sk-0123456789\n{program} -p coder config set agent.max_turns 77\nls -A {coder}"
        ),
    );
    if ran.code == Some(99) || ran.err.contains("Operation not permitted") {
        hermes_tests::tools::say("it may not mount anything here");
        return;
    }
    let said = ran.ok();
    assert!(!said.contains(".bak") && !said.contains(".tmp"), "{said}");
    let text = fs_err::read_to_string(outside.join("config.yaml")).unwrap();
    assert!(text.contains("max_turns: 77") && !text.ends_with("7\n7\n"), "{text}");
    assert!(fs_err::read_to_string(outside.join(".env")).unwrap().contains("OPENAI_API_KEY=sk-0123456789"));
    assert_eq!(fs_err::metadata(outside.join("config.yaml")).unwrap().ino(), inode);
}

/// Wires 14: two profiles with one `config.yaml`, by a link or by two names, lose no change of each other.
#[test]
fn two_profiles_with_one_file_share_a_lock() {
    for hard in [false, true] {
        let home = Home::new();
        home.profile("one").profile("two");
        let shared: Utf8PathBuf = home.root().join("shared.yaml");
        fs_err::rename(home.of("one").join("config.yaml"), &shared).unwrap();
        for name in ["one", "two"] {
            let path = home.of(name).join("config.yaml");
            let _ = fs_err::remove_file(&path);
            if hard {
                fs_err::hard_link(&shared, &path).unwrap();
            } else {
                std::os::unix::fs::symlink(&shared, &path).unwrap();
            }
        }
        let set = |name: &'static str| {
            let home = &home;
            move || {
                for n in 0..12 {
                    let key = format!("display.{name}_{n}");
                    // Whoever comes second to a change is told, and comes again.
                    while run(home, &["-p", name, "config", "set", &key, "1", "--force"]).code != Some(0) {}
                }
            }
        };
        std::thread::scope(|scope| {
            let both = [scope.spawn(set("one")), scope.spawn(set("two"))];
            for one in both {
                one.join().unwrap();
            }
        });
        let text = fs_err::read_to_string(&shared).unwrap();
        for name in ["one", "two"] {
            assert!((0..12).all(|n| text.contains(&format!("{name}_{n}: 1"))), "{hard}: {text}");
            let path = home.of(name).join("config.yaml");
            assert_eq!(is_link(&path), !hard);
            assert_eq!(fs_err::read_to_string(path).unwrap(), text);
        }
    }
}

fn is_link(path: &Utf8Path) -> bool {
    fs_err::symlink_metadata(path).unwrap().is_symlink()
}
