//! Wires 12 and 13: what an archive never holds, and homes that live while they are exported.

use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8Path;
use hermes_tests::Home;
use hermes_tests::archive::{gunzip, names};
use hermes_tests::command::Ran;
use hermes_tests::gateway::hermes;

/// Runs it in the user's directory.
fn there(home: &Home, args: &[&str]) -> Ran {
    hermes(home, args).current_dir(home.user()).output().unwrap().into()
}

fn members(home: &Home, archive: &str) -> Vec<String> {
    names(&fs_err::read(home.user().join(archive)).unwrap())
}

/// Wires 12: `HERMES_HOME=$HOME`, with everything that stands in one.
#[test]
fn of_a_home_directory_only_what_belongs_to_a_profile() {
    let home = Home::new();
    for path in [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".gnupg/private-keys-v1.d/x.key",
        ".netrc",
        ".kube/config",
        ".claude.json",
        ".claude/.credentials.json",
        ".codex/auth.json",
        ".config/gh/hosts.yml",
        ".mozilla/firefox/x/logins.json",
        "projects/app/.env",
        "projects/app/main.py",
        "Documents/letter.txt",
        "mine.db",
    ] {
        home.write("default", path, "canary-of-the-user");
    }
    for path in ["SOUL.md", "MEMORY.md", "skills/a/SKILL.md", "memories/MEMORY.md", "scripts/x.sh"] {
        home.write("default", path, "of the profile");
    }
    for history in [false, true] {
        let mut args = vec!["profile", "export", "default"];
        args.extend(history.then_some("--history"));
        let said = there(&home, &args).ok();
        assert!(said.contains("takes only what belongs to a profile: .aws, .claude,"), "{said}");
        let all = gunzip(&fs_err::read(home.user().join("default.tar.gz")).unwrap());
        assert!(!String::from_utf8_lossy(&all).contains("canary-of-the-user"));
        let tops: std::collections::BTreeSet<String> = members(&home, "default.tar.gz")
            .iter()
            .filter_map(|name| name.trim_end_matches('/').split('/').nth(1).map(str::to_owned))
            .collect();
        let tops: Vec<_> = tops.iter().map(String::as_str).collect();
        assert_eq!(tops, ["MEMORY.md", "SOUL.md", "config.yaml", "memories", "scripts", "skills"]);
    }
    let said = there(&home, &["profile", "import", "default.tar.gz", "copy"]).ok();
    assert!(said.contains("Not in the archive: .env"), "{said}");
    assert_eq!(home.read("copy", "memories/MEMORY.md").unwrap(), "of the profile");
}

/// Wires 12: a value of `.env` or `auth.json` anywhere, in whatever form: no archive, and where it is.
#[test]
fn a_value_of_env_that_stands_elsewhere_is_found() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo}\n",
        "OPENAI_API_KEY=tok-0123456789abcdef\nFAVOURITE=turquoise-4711-x9\nTZ=Europe/Berlin\nBASE=https://h.example/v1\n",
    );
    home.write("coder", "auth.json", r#"{"nous": {"access_token": "acc-0123456789", "scope": "inference"}}"#);
    home.write(
        "coder",
        "memories/MEMORY.md",
        "We are in Europe/Berlin, at https://h.example/v1, for inference.",
    );
    there(&home, &["profile", "export", "coder"]).ok();
    fs_err::remove_file(home.user().join("coder.tar.gz")).unwrap();
    for (path, text, name) in [
        ("memories/MEMORY.md", "the key is tok-0123456789abcdef.", "OPENAI_API_KEY"),
        ("skills/x/run.sh", "curl -u me:acc-0123456789 https://h", "auth.json:nous.access_token"),
        // `x:tok-0123456789abcdef` in base64.
        ("workspace/header", "Basic eDp0b2stMDEyMzQ1Njc4OWFiY2RlZg==", "OPENAI_API_KEY"),
        ("plans/tok-0123456789abcdef", "", "OPENAI_API_KEY"),
        ("workspace/notes", "turquoise-4711-x9", "FAVOURITE"),
    ] {
        home.write("coder", path, text);
        let err = there(&home, &["profile", "export", "coder"]).fails(1);
        assert!(err.contains(&format!("coder/{path}: {name}\n")) && err.contains("--allow NAME"), "{err}");
        assert!(!err.contains("turquoise") && !err.contains("acc-0"), "{err}");
        assert_eq!(home.user().read_dir_utf8().unwrap().count(), 0, "nothing is left");
        if name != "FAVOURITE" {
            fs_err::remove_file(home.of("coder").join(path)).unwrap();
        }
    }
    there(&home, &["profile", "export", "coder", "--allow", "FAVOURITE"]).ok();
}

/// Wires 12: logins of tools, private keys and filled-in `.env` files of a named profile.
#[test]
fn logins_stay_at_home() {
    let home = Home::new();
    home.profile("coder");
    let key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDF";
    for (path, text) in [
        ("home/.claude/.credentials.json", "{}".to_owned()),
        ("home/.codex/auth.json", "{}".to_owned()),
        ("home/.gemini/oauth_creds.json", "{}".to_owned()),
        ("home/.newest-tool-of-all/token", "x".to_owned()),
        ("home/.config/newest/token", "x".to_owned()),
        ("home/.bashrc", "export OPENAI_API_KEY=abcdef\n".to_owned()),
        ("workspace/app/.env", "DB_PASSWORD=hunter22\n".to_owned()),
        (
            "workspace/app/server.pem",
            format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"),
        ),
        ("workspace/app/auth.json", "{}".to_owned()),
        ("workspace/app/.git/config", "[remote]\nurl = https://me:pass1234@h/x\n".to_owned()),
        ("plugins/x/config.yaml", "api_key: hunter22\n".to_owned()),
    ] {
        home.write("coder", path, &text);
    }
    for path in ["home/notes", "home/.vimrc", "workspace/app/main.py", "workspace/app/.env.example"] {
        home.write("coder", path, "x");
    }
    let said = there(&home, &["profile", "export", "coder"]).ok();
    let members = members(&home, "coder.tar.gz");
    for out in [
        "home/.claude",
        "home/.codex",
        "home/.gemini",
        "home/.newest-tool-of-all",
        "home/.config/newest",
        "home/.bashrc",
        "workspace/app/.env",
        "workspace/app/server.pem",
        "workspace/app/auth.json",
        "workspace/app/.git/config",
    ] {
        assert!(said.contains(&format!("left out {out}: ")), "{out}: {said}");
        assert!(!members.iter().any(|name| name.trim_end_matches('/') == format!("coder/{out}")), "{out}");
    }
    for kept in ["home/notes", "home/.vimrc", "workspace/app/main.py", "workspace/app/.env.example"] {
        assert!(members.contains(&format!("coder/{kept}")), "{kept}: {members:?}");
    }
    let all = gunzip(&fs_err::read(home.user().join("coder.tar.gz")).unwrap());
    assert!(!String::from_utf8_lossy(&all).contains("hunter22"));
}

/// Wires 13: files that grow, shrink, vanish and come, directories too: a warning at most, and an archive that is whole.
#[test]
fn a_home_that_lives_is_exported() {
    let home = Home::new();
    home.profile("coder");
    let work = home.of("coder").join("workspace");
    home.write("coder", "workspace/still", "here");
    home.write("coder", "workspace/zz-large/still", &"x".repeat(3 << 20));
    let stop = AtomicBool::new(false);
    let live = |work: &Utf8Path| {
        let mut n = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let dir = work.join(format!("dir-{}", n % 7));
            let _ = fs_err::create_dir(&dir);
            let _ = fs_err::write(dir.join("file"), "x".repeat(n % 5000));
            let _ = fs_err::write(work.join("growing"), "x".repeat(n * 1000 % (4 << 20)));
            let _ =
                fs_err::write(work.join("zz-large/shrinking"), "x".repeat((4 << 20) - n * 1000 % (4 << 20)));
            let _ = fs_err::remove_dir_all(work.join(format!("dir-{}", (n + 3) % 7)));
        }
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| live(&work));
        let ran: Vec<Ran> =
            (0..6).map(|n| there(&home, &["profile", "export", "coder", "-o", &format!("r{n}")])).collect();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        for (n, ran) in ran.into_iter().enumerate() {
            ran.ok();
            let name = format!("new{n}");
            there(&home, &["profile", "import", &format!("r{n}.tar.gz"), &name]).ok();
            assert_eq!(home.read(&name, "workspace/still").unwrap(), "here");
            assert_eq!(home.read(&name, "workspace/zz-large/still").unwrap().len(), 3 << 20);
        }
    });
}

/// Wires 13: files with holes, in every form that GNU tar 1.34 writes (`tests/fixtures/archives`), come out as they were.
#[test]
fn sparse_members_are_imported() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::new();
    let mut expected = vec![0_u8; 30 * 65536 + 12345];
    for piece in 0..30_u8 {
        let at = usize::from(piece) * 65536 + 4096;
        expected[at..at + 4096].fill(piece + 1);
    }
    for kind in ["gnu", "0.0", "0.1", "1.0"] {
        let fixture =
            Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/archives/sparse-{kind}.tar.gz"));
        let name = format!("of-{}", kind.replace('.', "-"));
        there(&home, &["profile", "import", fixture.as_str(), &name]).ok();
        let path = home.of(&name).join("workspace/holes");
        assert!(fs_err::read(&path).unwrap() == expected, "{kind}");
        assert_eq!(fs_err::metadata(&path).unwrap().mtime(), 1_700_000_000, "{kind}");
    }
}
