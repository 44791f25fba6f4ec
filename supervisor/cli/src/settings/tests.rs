//! Drafts: what is set and unset, refused and said, and that nothing is written by halves.

use hermes_worker::REGISTRY;

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    root: RootHome,
    env: Surroundings,
}

impl Place {
    fn new(yaml: Option<&str>, env: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        let root = RootHome::new(path.join("root"));
        let home = root.profile(&ProfileName::default_profile());
        if yaml.is_some() || env.is_some() {
            fs_err::create_dir(root.path()).unwrap();
        }
        yaml.inspect(|text| fs_err::write(home.config(), text).unwrap());
        env.inspect(|text| fs_err::write(home.env_file(), text).unwrap());
        let surroundings = Surroundings { managed_dir: path.join("etc"), ..Surroundings::bare() };
        Self { _dir: dir, root, env: surroundings }
    }

    fn draft(&self) -> Draft {
        Draft::open(&self.root, &ProfileName::default_profile(), &self.env).unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs_err::read_to_string(self.root.path().join(file)).unwrap()
    }

    fn pin(&self, file: &str, text: &str) {
        fs_err::create_dir_all(&self.env.managed_dir).unwrap();
        fs_err::write(self.env.managed_dir.join(file), text).unwrap();
    }
}

#[test]
fn a_draft_writes_nothing_until_it_is_committed_and_then_both_files() {
    let place = Place::new(None, None);
    let mut draft = place.draft();
    draft.set("model.default", "a/b", As::Schema).unwrap();
    draft.set("openai_api_key", "sk-1", As::Schema).unwrap();
    assert!(!place.root.path().exists());
    assert_eq!(draft.commit().unwrap().len(), 2);
    assert_eq!(
        (place.read("config.yaml").as_str(), place.read(".env").as_str()),
        ("model:\n  default: a/b\n", "OPENAI_API_KEY=sk-1\n")
    );
    for file in ["", "config.yaml", ".env"] {
        let mode = fs_err::metadata(place.root.path().join(file)).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{file}");
    }
    let unchanged = {
        let mut draft = place.draft();
        draft.set("model.default", "a/b", As::Schema).unwrap();
        draft.commit().unwrap()
    };
    assert_eq!(unchanged, Vec::<Utf8PathBuf>::new());
}

#[test]
fn somebody_elses_edit_is_never_lost() {
    let place = Place::new(Some("a: 1\n"), None);
    let mut draft = place.draft();
    draft.set("x", "1", As::Schema).unwrap();
    fs_err::write(place.root.path().join("config.yaml"), "a: 1\nb: 2\n").unwrap();
    assert!(matches!(draft.commit(), Err(SettingsError::Changed(_))));
    assert_eq!(place.read("config.yaml"), "a: 1\nb: 2\n");
    let mut draft = place.draft();
    draft.set("x_token", "1", As::Schema).unwrap();
    fs_err::write(place.root.path().join(".env"), "A=1\n").unwrap();
    assert!(matches!(draft.commit(), Err(SettingsError::Changed(_))));
    assert_eq!(place.read(".env"), "A=1\n");
}

#[test]
fn a_file_that_cannot_be_read_is_not_touched() {
    for (yaml, env) in [("a: [\n", "A=1\n"), ("- 1\n", "A=1\n"), ("a: 1\n---\nb: 1\n", "A=1\n")] {
        let place = Place::new(Some(yaml), Some(env));
        let error = Draft::open(&place.root, &ProfileName::default_profile(), &place.env).unwrap_err();
        assert!(error.to_string().contains("line"), "{error}");
    }
    let place = Place::new(Some("a: 1\n"), None);
    fs_err::write(place.root.path().join(".env"), b"\xff\xfe\0\0A\0\0\0").unwrap();
    let error = Draft::open(&place.root, &ProfileName::default_profile(), &place.env).unwrap_err();
    assert!(error.to_string().contains("UTF-32"), "{error}");
    fs_err::remove_file(place.root.path().join(".env")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.root.path().join(".env")).unwrap();
    let error = Draft::open(&place.root, &ProfileName::default_profile(), &place.env).unwrap_err();
    assert!(error.to_string().contains("link"), "{error}");
}

/// Wires 11: whatever `.env` was saved as, a variable can be set in it, and then it is UTF-8; nothing of a removed one is left.
#[test]
fn a_file_that_is_not_utf8_can_be_changed() {
    let utf16: Vec<u8> = "\u{feff}A=ü\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, was) in [(&b"# f\xfcr\r\nA=\xfc\r\n"[..], "partly Latin-1"), (utf16.as_slice(), "UTF-16")] {
        let place = Place::new(None, Some(""));
        fs_err::write(place.root.path().join(".env"), bytes).unwrap();
        let mut draft = place.draft();
        assert!(!draft.is_changed());
        assert_eq!(draft.variables().get("A"), Some("ü"));
        let change = draft.set("x_token", "secret-value", As::Schema).unwrap();
        assert!(change.notes.iter().any(|note| note.to_string().contains(was)), "{:?}", change.notes);
        draft.commit().unwrap();
        assert!(place.read(".env").ends_with("A=ü\r\nX_TOKEN=secret-value\r\n"), "{:?}", place.read(".env"));
        let mut draft = place.draft();
        draft.unset("x_token").unwrap();
        draft.commit().unwrap();
        for entry in fs_err::read_dir(place.root.path()).unwrap() {
            let bytes = fs_err::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|bytes| bytes == b"secret"));
        }
    }
}

/// Wires 15: a file that others can read is taken away from them when a secret goes into it, and that is said.
#[test]
fn a_secret_makes_the_file_private() {
    let place = Place::new(None, Some("A=1\n"));
    let file = place.root.path().join(".env");
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut draft = place.draft();
    let change = draft.set("openai_api_key", "sk-1", As::Schema).unwrap();
    assert!(change.notes.iter().any(|note| matches!(note, Note::Tightened { mode: 0o644, .. })));
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    draft.commit().unwrap();
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Wires 10: an item of a list is named with a dot, and whoever uses brackets is told how.
#[test]
fn brackets_are_refused_with_the_spelling_that_works() {
    let mut draft = Place::new(Some("x: [{y: 1}, {y: 2}]\n"), None).draft();
    for (typed, dotted) in [("x[1].y", "x.1.y"), ("x[1]", "x.1"), ("a.b[0][2].c", "a.b.0.2.c")] {
        let said = [
            draft.set(typed, "3", As::Schema).unwrap_err(),
            draft.unset(typed).unwrap_err(),
            draft.get(typed).unwrap_err(),
        ];
        for error in said {
            assert!(error.to_string().contains(&format!("'{dotted}'")), "{error}");
        }
    }
    draft.set("x.1.y", "3", As::Schema).unwrap();
    draft.set("x.0.\"z[1]\"", "3", As::Schema).unwrap();
}

/// Wires 11: `.env` may refer to what passes into a worker, as in the worker itself.
#[test]
fn variables_refer_to_the_surroundings() {
    let mut place = Place::new(None, Some("B_TOKEN=${HOME}/x\nC_TOKEN=${HERMES_HOME}\n"));
    place.env.passed = Env::default().with("HOME", "/home/u");
    let draft = place.draft();
    assert_eq!(draft.variables().get("B_TOKEN"), Some("/home/u/x"));
    assert_eq!(draft.variables().get("C_TOKEN"), Some(place.root.path().as_str()));
    assert!(draft.problems().iter().all(|problem| problem.code != "env_reference"));
}

/// Wires 15: a key that has a default has a value.
#[test]
fn what_has_a_default_is_printed() {
    let draft = Place::new(None, None).draft();
    for key in schema::all(&REGISTRY).filter(|key| !key.path.contains('*')) {
        if let Some(default) = key.default.json() {
            assert_eq!(
                draft.get(key.path).unwrap().map(|settled| settled.value),
                Some(default),
                "{}",
                key.path
            );
        }
    }
}

#[test]
fn links_are_followed_and_modes_kept() {
    let place = Place::new(Some("a: 1\n"), None);
    let (link, real) = (place.root.path().join("config.yaml"), place.root.path().join("real.yaml"));
    fs_err::rename(&link, &real).unwrap();
    fs_err::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.yaml", &link).unwrap();
    let mut draft = place.draft();
    draft.set("b", "2", As::Schema).unwrap();
    draft.commit().unwrap();
    assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs_err::read_to_string(&real).unwrap(), "a: 1\nb: 2\n");
    assert_eq!(fs_err::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn an_administrator_pins_keys_their_parents_and_what_is_below() {
    let place = Place::new(Some("model: {default: x}\n"), Some("K_TOKEN=mine\n"));
    place.pin("config.yaml", "model: {default: pinned}\nmax_turns: 3\n");
    place.pin(".env", "K_TOKEN=theirs\nGATEWAY_MULTIPLEX_PROFILES=0\n");
    let mut draft = place.draft();
    for key in [
        "model.default",
        "model",
        "model.default.deeper",
        "agent.max_turns",
        "max_turns",
        "k_token",
        "gateway.multiplex_profiles",
    ] {
        let error = draft.set(key, "y", As::Schema).unwrap_err();
        assert!(matches!(error, SettingsError::Administrator { .. }), "{key}: {error}");
        assert!(matches!(draft.unset(key), Err(SettingsError::Administrator { .. })), "{key}");
    }
    assert!(draft.set("model.provider", "y", As::Schema).is_ok());
    let value = |key: &str| draft.get(key).unwrap().unwrap().value;
    assert_eq!(
        (value("model.default"), value("k_token"), value("agent.max_turns")),
        ("pinned".into(), "theirs".into(), 3.into())
    );
    place.pin("config.yaml", "model: [\n");
    assert!(Draft::open(&place.root, &ProfileName::default_profile(), &place.env).is_err());
}

#[test]
fn a_rotated_secret_is_replaced_wherever_providers_use_it() {
    let yaml = "model:\n  api_key: old-key # mine\ncustom_providers:\n- {name: x, api_key: old-key}\ntelegram: {token: old-key}\n";
    let place = Place::new(Some(yaml), Some("OPENAI_API_KEY=old-key\n"));
    let mut draft = place.draft();
    let change = draft.set("openai_api_key", "new-key", As::Schema).unwrap();
    assert_eq!(
        change.notes[0],
        Note::Rotated { keys: vec!["model.api_key".to_owned(), "custom_providers.0.api_key".to_owned()] }
    );
    draft.commit().unwrap();
    assert_eq!(place.read("config.yaml"), yaml.replacen("old-key", "new-key", 2));
}

#[test]
fn what_would_lose_something_is_refused_and_leaves_the_draft_as_it_was() {
    let place = Place::new(Some("agent: {max_turns: 5}\nlist: [1]\nx: &x {a: 1}\ny: *x\n"), None);
    let mut draft = place.draft();
    for (key, text, how) in [
        ("agent", "5", As::Schema),
        ("list.1", "5", As::Schema),
        ("list.name", "5", As::Schema),
        ("toolsets.0", "5", As::Schema),
        ("x.a", "5", As::Schema),
        ("a", "{", As::Json),
        ("a..b", "5", As::Schema),
        ("BAD-X_TOKEN", "5", As::Schema),
        ("NUL_TOKEN", "a\0b", As::Schema),
    ] {
        assert!(draft.set(key, text, how).is_err(), "{key}");
        assert!(!draft.is_changed(), "{key}");
    }
    assert!(draft.set("toolsets.\"0\"", "5", As::Schema).is_ok());
    assert!(draft.set("list.0", "5", As::Schema).is_ok());
    assert!(draft.set("agent", "{\"max_turns\": 6}", As::Json).is_ok());
}

#[test]
fn many_commands_at_once_lose_nothing() {
    let place = Place::new(Some("# mine\n"), None);
    std::thread::scope(|scope| {
        for n in 0..12 {
            let place = &place;
            scope.spawn(move || {
                loop {
                    let mut draft = place.draft();
                    draft.set(&format!("k{n}"), "1", As::Schema).unwrap();
                    match draft.commit() {
                        Ok(_) => break,
                        Err(SettingsError::Changed(_)) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    assert_eq!(place.read("config.yaml").lines().count(), 13);
}
