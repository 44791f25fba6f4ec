//! Aliases on a real file system: made, taken away, and nobody else's file touched.

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    root: RootHome,
    aliases: AliasDir,
}

fn place(program: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let user = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
    let bin = user.join("system");
    fs_err::create_dir_all(&bin).unwrap();
    executable(&bin.join("ls"));
    let aliases = AliasDir {
        dir: user.join(".local/bin"),
        path: vec![bin],
        program: user.join(program).into_string(),
        usual_root: user.join(".hermes"),
        root: user.join(".hermes"),
        commands: vec!["status".to_owned(), "worker".to_owned()],
    };
    Place { root: RootHome::new(user.join(".hermes")), _dir: dir, aliases }
}

fn executable(path: &Utf8Path) {
    fs_err::write(path, "#!/bin/sh\necho \"$HERMES_HOME|$*\"\n").unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

#[test]
fn names_that_are_taken_are_refused_with_the_known_texts() {
    let place = place("hermes");
    let why = |name: &str| place.aliases.check(name).unwrap_err().to_string();
    assert_eq!(why("Foo"), "Invalid alias name 'Foo'. Must match [a-z0-9][a-z0-9_-]{0,63}");
    assert_eq!(why("default"), "'default' is a reserved name");
    assert_eq!(why("worker"), "'worker' conflicts with a hermes subcommand");
    assert_eq!(why("ls"), format!("'ls' conflicts with an existing command ({}/ls)", place.aliases.path[0]));
    assert!(place.aliases.check("coder").is_ok());
    // Wires 15: what a shell takes for itself can never be called.
    for word in ["if", "jobs", "history", "source", "function", "end", "setopt", "time", "export"] {
        assert!(why(word).contains("a word of the shell") && why(word).contains("--name hermes-"), "{word}");
    }
    let made = place.aliases.create(&place.root, &name("jobs"), None, "").unwrap();
    assert_eq!(made.name, "hermes-jobs");
}

#[test]
fn a_file_that_is_not_ours_is_never_replaced_or_removed() {
    let place = place("hermes");
    fs_err::create_dir_all(&place.aliases.dir).unwrap();
    let target = place.aliases.dir.join("coder");
    for (text, link) in [("my notes", false), ("#!/bin/sh\nexec other -p x\n", false), ("", true)] {
        let _ = fs_err::remove_file(&target);
        if link {
            std::os::unix::fs::symlink("/nowhere", &target).unwrap();
        } else {
            fs_err::write(&target, text).unwrap();
        }
        let made = place.aliases.create(&place.root, &name("coder"), None, "").unwrap();
        assert_eq!(made.name, "hermes-coder");
        assert!(made.instead.unwrap().to_string().starts_with("'coder' conflicts with an existing file"));
        assert!(place.aliases.create(&place.root, &name("coder"), Some("coder"), "").is_err());
        assert_eq!(place.aliases.remove(&name("coder"), None).0.len(), 1, "only ours");
        assert!(fs_err::symlink_metadata(&target).is_ok());
        if !link {
            assert_eq!(fs_err::read_to_string(&target).unwrap(), text);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a wrapper is tried by running it")]
fn a_wrapper_runs_with_spaces_and_quotes_in_the_way() {
    let place = place("my 'odd' dir/hermes");
    fs_err::create_dir_all(Utf8Path::new(&place.aliases.program).parent().unwrap()).unwrap();
    executable(Utf8Path::new(&place.aliases.program));
    let usual = place.aliases.create(&place.root, &name("coder"), None, "").unwrap();
    let elsewhere = RootHome::new(place.root.path().join("else where"));
    let other = place.aliases.create(&elsewhere, &name("ops"), Some("o"), "").unwrap();
    let run = |path: &Utf8Path| {
        let output = std::process::Command::new(path).arg("a b").env_remove("HERMES_HOME").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&usual.path), "|-p coder a b\n");
    assert_eq!(run(&other.path), format!("{}|-p ops a b\n", elsewhere.path()));
    let profiles = |all: Vec<Alias>| all.into_iter().map(|a| a.profile).collect::<Vec<_>>();
    assert_eq!(profiles(place.aliases.everywhere()), ["coder", "ops"]);
    assert_eq!(profiles(place.aliases.all()), ["coder"], "ops is a profile of another root home");
    assert!(place.aliases.remove(&name("ops"), None).0.is_empty());
    // Ours is recognised, so it can be made again.
    assert_eq!(place.aliases.create(&place.root, &name("coder"), None, "").unwrap().name, "coder");
}

#[test]
fn wrappers_of_0_19_0_are_ours_and_the_custom_one_is_shown() {
    let place = place("hermes");
    fs_err::create_dir_all(&place.aliases.dir).unwrap();
    for alias in ["coder", "a-custom", "z-custom"] {
        let text = "#!/bin/sh\nexec '/opt/my dir/hermes' -p coder \"$@\"\n";
        fs_err::write(place.aliases.dir.join(alias), text).unwrap();
    }
    let all = place.aliases.all();
    assert_eq!(AliasDir::shown(&all, &name("coder")).unwrap().name, "z-custom");
    let (now, refused) = place.aliases.retarget(&place.root, &name("coder"), &name("dev"));
    assert!(refused.is_none());
    let now: Vec<_> = now.iter().map(|a| (a.name.as_str(), a.profile.as_str())).collect();
    assert_eq!(now, [("a-custom", "dev"), ("dev", "dev"), ("z-custom", "dev")]);
    assert!(place.aliases.all().iter().all(|a| a.profile == "dev"));
    assert_eq!(place.aliases.remove(&name("dev"), Some("dev")).0.len(), 1);
    assert_eq!(place.aliases.remove(&name("dev"), None).0.len(), 2);
}

#[test]
fn an_existing_profile_keeps_its_alias_unless_it_is_named() {
    let place = place("hermes");
    for profile in ["coder", "ops"] {
        fs_err::create_dir_all(place.root.profile(&name(profile)).path()).unwrap();
    }
    place.aliases.create(&place.root, &name("coder"), Some("ops"), "").unwrap();
    let made = place.aliases.create(&place.root, &name("ops"), None, "").unwrap();
    assert_eq!(made.name, "hermes-ops");
    assert_eq!(made.instead.unwrap().to_string(), "'ops' is the alias of another profile, 'coder'");
    let made = place.aliases.create(&place.root, &name("ops"), Some("ops"), "").unwrap();
    assert_eq!(made.before.as_deref(), Some("coder"));
    assert!(AliasDir::orphans(&place.aliases.all(), &place.root).is_empty());
    fs_err::remove_dir_all(place.root.profile(&name("ops")).path()).unwrap();
    let all = place.aliases.all();
    let orphans: Vec<_> = AliasDir::orphans(&all, &place.root).into_iter().map(|a| a.name.as_str()).collect();
    assert_eq!(orphans, ["hermes-ops", "ops"]);
    // An alias of a profile that is gone is free.
    assert_eq!(
        place.aliases.create(&place.root, &name("coder"), None, "hermes-").unwrap().name,
        "hermes-coder"
    );
}

#[test]
fn a_file_that_took_the_place_meanwhile_goes_back_to_it() {
    let place = place("hermes");
    let made = place.aliases.create(&place.root, &name("coder"), None, "").unwrap();
    let seen = place.aliases.named("coder").unwrap();
    fs_err::write(&made.path, "#!/bin/sh\nmine\n").unwrap();
    assert!(!place.aliases.take_away(&seen).unwrap());
    assert_eq!(fs_err::read_to_string(&made.path).unwrap(), "#!/bin/sh\nmine\n");
    assert!(place.aliases.put(&made.path, "x").is_err());
    assert_eq!(fs_err::read_dir(&place.aliases.dir).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn modes_are_those_of_a_command() {
    let place = place("hermes");
    let made = place.aliases.create(&place.root, &name("coder"), None, "").unwrap();
    assert_eq!(fs_err::metadata(&made.path).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!place.aliases.is_on_path());
}

#[test]
fn what_killed_commands_left_is_swept_and_nothing_else() {
    let place = place("hermes");
    place.aliases.create(&place.root, &name("coder"), None, "").unwrap();
    let dir = &place.aliases.dir;
    let wrapper = fs_err::read_to_string(dir.join("coder")).unwrap();
    for (name, text) in [
        (".hermes-alias-a.tmp", ""),
        (".hermes-alias-b.tmp", wrapper.as_str()),
        (".hermes-alias-c.tmp", "mine"),
        ("other.tmp", ""),
    ] {
        fs_err::write(dir.join(name), text).unwrap();
    }
    place.aliases.sweep(Duration::from_secs(3600));
    assert!(dir.join(".hermes-alias-a.tmp").exists(), "it may be in use");
    place.aliases.sweep(Duration::ZERO);
    let mut left: Vec<_> = dir.read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
    left.sort();
    assert_eq!(left, [".hermes-alias-c.tmp", "coder", "other.tmp"]);
}
