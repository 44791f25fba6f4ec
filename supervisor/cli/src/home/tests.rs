//! Selection on real directories.

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    env: Surroundings,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let user = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
    let root = user.join(".hermes");
    fs_err::create_dir_all(root.join("profiles/coder")).unwrap();
    fs_err::write(root.join("profiles/coder/config.yaml"), "").unwrap();
    let env = Surroundings { user_home: Some(user.clone()), current_dir: user, ..Surroundings::bare() };
    Place { _dir: dir, env }
}

impl Place {
    fn root(&self) -> Utf8PathBuf {
        self.env.user_home.clone().unwrap().join(".hermes")
    }

    fn with_home(&self, home: &Utf8Path) -> Surroundings {
        Surroundings { hermes_home: Some(home.to_owned()), ..self.env.clone() }
    }
}

fn take(args: &[&str]) -> Result<(Vec<String>, Option<String>), SelectionError> {
    let args = args.iter().map(OsString::from).collect();
    take_profile_flag(args, |_| false)
        .map(|(rest, found)| (rest.into_iter().map(|a| a.into_string().unwrap()).collect(), found))
}

#[test]
fn the_flag_is_found_in_every_position_and_spelling() {
    for spelling in
        [&["-p", "coder"][..], &["-pcoder"], &["-p=coder"], &["--profile", "coder"], &["--profile=coder"]]
    {
        for position in 1..=3 {
            let mut args = vec!["hermes", "gateway", "status"];
            for (n, word) in spelling.iter().enumerate() {
                args.insert(position + n, word);
            }
            let (rest, found) = take(&args).unwrap();
            assert_eq!(rest, ["hermes", "gateway", "status"]);
            assert_eq!(found.as_deref(), Some("coder"), "{args:?}");
        }
    }
}

#[test]
fn what_is_not_the_flag_stays() {
    assert_eq!(take(&["hermes", "x", "--", "-p", "coder"]).unwrap().1, None);
    assert_eq!(take(&["hermes", "status", "-p"]).unwrap().0, ["hermes", "status", "-p"]);
    assert_eq!(take(&["hermes", "-p", "--json"]).unwrap().0, ["hermes", "-p", "--json"]);
    assert_eq!(take(&["hermes", "-p", "a", "-p", "A"]).unwrap().1.as_deref(), Some("A"));
    let twice = take(&["hermes", "-p", "a", "--profile=b"]).unwrap_err();
    assert_eq!(twice.exit_code(), 2);
}

#[test]
fn the_flag_wins_and_is_normalised() {
    let place = place();
    fs_err::write(place.root().join("active_profile"), "gone\n").unwrap();
    let chosen = select(Some(" Coder "), &place.env).unwrap();
    assert_eq!((chosen.profile.as_str(), chosen.chosen), ("coder", Chosen::Flag));
    assert_eq!(chosen.home().path(), place.root().join("profiles/coder"));
    let default = select(Some("default"), &place.with_home(&place.root().join("profiles/coder"))).unwrap();
    assert_eq!(default.home().path(), place.root());
}

#[test]
fn errors_have_the_texts_and_codes_scripts_know() {
    let place = place();
    let missing = select(Some("nope"), &place.env).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "Profile 'nope' does not exist. Create it with: hermes profile create nope"
    );
    assert_eq!(missing.exit_code(), 1);
    assert!(
        missing.hint().unwrap().contains("default, coder")
            && missing.hint().unwrap().contains("profile create")
    );
    let bad = select(Some("bad.name"), &place.env).unwrap_err();
    assert_eq!(bad.to_string(), "Invalid profile name 'bad.name'. Must match [a-z0-9][a-z0-9_-]{0,63}");
    assert_eq!(bad.exit_code(), 2);
    assert!(select(Some("main"), &place.env).unwrap_err().to_string().contains("is reserved"));
}

#[test]
fn homes_lead_to_the_right_root() {
    let place = place();
    let root = place.root();
    assert_eq!(select(None, &place.env).unwrap().root.path(), root);
    let named = select(None, &place.with_home(&root.join("profiles/coder"))).unwrap();
    assert_eq!(
        (named.root.path(), named.profile.as_str(), named.chosen),
        (root.as_path(), "coder", Chosen::Home)
    );
    // A container's root, and a directory that only happens to be called `profiles`.
    let other = place.env.user_home.clone().unwrap().join("srv/profiles/x");
    fs_err::create_dir_all(&other).unwrap();
    let plain = select(None, &place.with_home(&other)).unwrap();
    assert_eq!((plain.root.path(), plain.chosen), (other.as_path(), Chosen::Nobody));
    fs_err::write(other.parent().unwrap().parent().unwrap().join("config.yaml"), "").unwrap();
    assert_eq!(select(None, &place.with_home(&other)).unwrap().profile.as_str(), "x");
    // Two spellings meet.
    let link = place.env.user_home.clone().unwrap().join("link");
    std::os::unix::fs::symlink(&root, &link).unwrap();
    assert_eq!(select(None, &place.with_home(&link)).unwrap().root.path(), root);
    let none = Surroundings { user_home: None, ..place.env.clone() };
    assert!(matches!(select(None, &none), Err(SelectionError::NoHome)));
}

#[test]
fn the_sticky_profile_counts_unless_it_is_gone() {
    let place = place();
    let file = place.root().join("active_profile");
    fs_err::write(&file, " Coder \n").unwrap();
    for env in [place.env.clone(), place.with_home(&place.root())] {
        let chosen = select(None, &env).unwrap();
        assert_eq!((chosen.profile.as_str(), chosen.chosen), ("coder", Chosen::Sticky));
    }
    // Wires 15: an editor's mark is no part of the name.
    fs_err::write(&file, "\u{feff}coder\r\n").unwrap();
    assert_eq!(select(None, &place.env).unwrap().profile.as_str(), "coder");
    fs_err::write(&file, "gone\n").unwrap();
    let lenient = select(None, &place.env).unwrap();
    assert_eq!((lenient.profile.as_str(), lenient.is_named()), ("default", false));
    let strict = lenient.strict().unwrap_err();
    assert_eq!(strict.exit_code(), 1);
    for ignored in ["default\n", "", "  \n", "DEFAULT"] {
        fs_err::write(&file, ignored).unwrap();
        assert!(select(None, &place.env).unwrap().strict().is_ok());
    }
}

/// Wires 15: a place among the profiles where nothing is and no profile can be is no root home to be made.
#[test]
fn nothing_is_made_among_the_profiles() {
    let place = place();
    let ghost = place.root().join("profiles/Ghost");
    let error = select(None, &place.with_home(&ghost)).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().contains("Ghost")), (1, true), "{error}");
    // One that is there is somebody's own affair.
    fs_err::create_dir(&ghost).unwrap();
    assert_eq!(select(None, &place.with_home(&ghost)).unwrap().root.path(), ghost);
}

/// All combinations of a flag, `HERMES_HOME` and the sticky file, against the rule as one reads it.
#[test]
fn precedence_is_flag_then_home_then_sticky_then_root() {
    let place = place();
    let root = place.root();
    for name in ["ops", "web"] {
        fs_err::create_dir_all(root.join("profiles").join(name)).unwrap();
    }
    let file = root.join("active_profile");
    let flags = [None, Some("coder"), Some(" Coder"), Some("default"), Some("gone")];
    let homes = [None, Some(root.clone()), Some(root.join("profiles/ops")), Some(root.join("profiles/lost"))];
    let stickies =
        [None, Some("web\n"), Some(" WEB "), Some("default"), Some(""), Some("gone"), Some("bad.name")];
    for ((flag, home), sticky) in flags
        .iter()
        .flat_map(|f| homes.iter().map(move |h| (f, h)))
        .flat_map(|p| stickies.iter().map(move |s| (p, s)))
    {
        match sticky {
            Some(text) => fs_err::write(&file, text).unwrap(),
            None => drop(fs_err::remove_file(&file)),
        }
        for slot in [false, true] {
            let env = Surroundings { hermes_home: home.clone(), supervised_slot: slot, ..place.env.clone() };
            let in_home =
                home.as_ref().and_then(|h| h.as_str().split_once("/profiles/")).map(|(_, name)| name);
            let in_file =
                sticky.map(|t| t.trim().to_lowercase()).filter(|t| !t.is_empty() && t != "default" && !slot);
            let named = flag.map(|f| f.trim().to_lowercase()).or(in_home.map(str::to_owned));
            let expected = match named.or(in_file) {
                Some(name) if name == "default" => Ok("default".to_owned()),
                Some(name) if root.join("profiles").join(&name).is_dir() => Ok(name),
                Some(name) => Err(name),
                None => Ok("default".to_owned()),
            };
            let found = select(*flag, &env).and_then(Selection::strict);
            let case = format!("{flag:?} {home:?} {sticky:?} {slot}");
            match (expected, found) {
                (Ok(name), Ok(selection)) => {
                    assert_eq!(
                        (selection.profile.as_str(), selection.root.path()),
                        (name.as_str(), root.as_path()),
                        "{case}"
                    );
                }
                (Err(name), Err(error)) => {
                    let text = format!(
                        "Profile '{name}' does not exist. Create it with: hermes profile create {name}"
                    );
                    assert_eq!((error.to_string(), error.exit_code()), (text, 1), "{case}");
                }
                (expected, found) => panic!("{case}: {expected:?} {found:?}"),
            }
        }
    }
}

#[test]
fn under_sudo_a_profile_of_the_caller_is_found() {
    let place = place();
    let theirs = place.env.user_home.clone().unwrap().join("caller/.hermes");
    fs_err::create_dir_all(theirs.join("profiles/work")).unwrap();
    let env = Surroundings { sudo_root: Some(theirs.clone()), ..place.env.clone() };
    let found = select(Some("work"), &env).unwrap();
    assert_eq!(found.home().path(), theirs.join("profiles/work"));
    assert_eq!(select(Some("coder"), &env).unwrap().root.path(), place.root(), "one's own comes first");
    assert!(select(Some("nope"), &env).unwrap_err().to_string().contains("'nope' does not exist"));
    assert!(select(Some("work"), &place.env).is_err());
    let user = |name: &str| Some(OsString::from(name));
    assert_eq!(sudo_root(false, user("nobody")), None);
    assert_eq!(sudo_root(true, user("root")), None);
    assert!(sudo_root(true, user("nobody")).is_some());
}

#[test]
fn a_supervisor_follows_no_sticky_profile() {
    let place = place();
    let file = place.root().join("active_profile");
    for sticky in ["coder", "gone"] {
        fs_err::write(&file, sticky).unwrap();
        let pinned = select(None, &place.env).unwrap().pinned().strict().unwrap();
        assert_eq!((pinned.profile.as_str(), pinned.chosen), ("default", Chosen::Nobody));
    }
    let named = select(Some("coder"), &place.env).unwrap().pinned();
    assert_eq!(named.profile.as_str(), "coder");
    let home = place.with_home(&place.root().join("profiles/coder"));
    assert_eq!(select(None, &home).unwrap().pinned().profile.as_str(), "coder");
}
