//! The tools for files, called as a model calls them, on real files.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::ProfileConfig;
use hermes_wire::RootHome;
use serde_json::{Value, json};

use super::super::{Caller, Tools};

struct Trial {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
    home: Utf8PathBuf,
    work: Utf8PathBuf,
    tools: Tools,
}

impl Trial {
    /// The profile `coder` beside `other` and `default`.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ProfileConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        let name = "coder".parse().unwrap();
        let home = RootHome::new(&root).profile(&name);
        for path in ["profiles/coder/workspace", "profiles/coder/mcp-tokens", "profiles/other"] {
            fs_err::create_dir_all(root.join(path)).unwrap();
        }
        for path in
            [".env", "notes", "profiles/other/notes", "profiles/coder/.env", "profiles/coder/mcp-tokens/t"]
        {
            fs_err::write(root.join(path), "SECRET=1").unwrap();
        }
        let mut config = ProfileConfig::new(name);
        change(&mut config);
        let tools = Tools::from_config(
            &config,
            &home,
            &crate::skills::Library::new(&home, &config),
            crate::tools::Given::default(),
        );
        let (home, work) = (home.path().to_owned(), home.workspace());
        Self { _dir: dir, root, home, work, tools }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let text = self.tools.run(tool, &arguments.to_string(), &Caller::default()).await;
        serde_json::from_str(&text).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        fs_err::create_dir_all(self.work.join(path).parent().unwrap()).unwrap();
        fs_err::write(self.work.join(path), text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.work.join(path)).unwrap()
    }
}

#[tokio::test]
async fn no_way_leads_to_secrets_or_to_other_profiles() {
    let trial = Trial::new();
    let (root, home, work) = (&trial.root, &trial.home, &trial.work);
    symlink(home.join(".env"), work.join("link")).unwrap();
    symlink("link", work.join("link-to-link")).unwrap();
    symlink(root, work.join("up")).unwrap();
    symlink(root.join("profiles/other/new"), work.join("nowhere-yet")).unwrap();
    fs_err::hard_link(home.join(".env"), work.join("hard.txt")).unwrap();
    fs_err::hard_link(root.join(".env"), work.join("hard-root.txt")).unwrap();
    fs_err::hard_link(home.join("mcp-tokens/t"), work.join("hard-token.txt")).unwrap();
    let (home_env, other) = (home.join(".env"), root.join("profiles/other/notes"));
    for path in [
        "../.env",
        "nothing/../../.env",
        "./../../coder/.env",
        "../.ENV",
        home_env.as_str(),
        other.as_str(),
        "link",
        "link-to-link",
        "up/notes",
        "up/.env",
        "nowhere-yet",
        "hard.txt",
        "hard-root.txt",
        "hard-token.txt",
        "../mcp-tokens/t",
        "../mcp-tokens/new",
        "/proc/self/environ",
        &format!("/proc/self/root{home_env}"),
        &format!("/proc/self/cwd/../../../../../../../../../../..{home_env}"),
        &format!("/proc/{}/mem", std::process::id()),
        "",
    ] {
        for (tool, arguments) in [
            ("read_file", json!({"path": path})),
            ("write_file", json!({"path": path, "content": "x"})),
            ("patch", json!({"path": path, "old_string": "SECRET", "new_string": "x"})),
            ("patch", json!({"mode": "patch", "patch": format!("*** Delete File: {path}\n")})),
        ] {
            let result = trial.call(tool, arguments).await;
            assert!(
                result["error"].is_string() && result.get("content").is_none(),
                "{tool} {path}: {result}"
            );
        }
    }
    let found = trial.call("search_files", json!({"pattern": "SECRET", "path": "."})).await;
    assert_eq!(found["total_count"], 0, "{found}");
    assert!(found["_omitted"].as_str().unwrap().starts_with("3 file"), "{found}");
    for path in
        [".env", "notes", "profiles/other/notes", "profiles/coder/.env", "profiles/coder/mcp-tokens/t"]
    {
        assert_eq!(fs_err::read_to_string(root.join(path)).unwrap(), "SECRET=1", "{path}");
    }
    assert!(!root.join("profiles/other/new").exists());
}

#[tokio::test]
async fn files_are_read_in_parts() {
    let trial = Trial::with(|config| {
        (config.tools.max_read_chars, config.tools.max_lines, config.tools.max_line_length) = (40, 10, 12);
    });
    let lines: String = (1..=20).map(|n| format!("line {n}\r\n")).collect();
    trial.write("a.txt", &format!("\u{feff}{lines}"));
    let read = trial.call("read_file", json!({"path": "a.txt", "limit": "3"})).await;
    assert_eq!(read["content"], "1|line 1\n2|line 2\n3|line 3");
    assert_eq!((&read["total_lines"], &read["truncated"]), (&json!(20), &json!(true)));
    assert_eq!(read["hint"], "Use offset=4 to continue reading (showing 1-3 of 20 lines)");
    let read = trial.call("read_file", json!({"path": "a.txt", "offset": 18})).await;
    assert_eq!(
        (&read["content"], &read["truncated"]),
        (&json!("18|line 18\n19|line 19\n20|line 20"), &json!(false))
    );
    let read = trial.call("read_file", json!({"path": "a.txt", "offset": 11})).await;
    assert_eq!((&read["truncated_by"], &read["next_offset"]), (&json!("bytes"), &json!(14)), "{read}");
    let read = trial.call("read_file", json!({"path": "a.txt", "offset": 30})).await;
    assert_eq!((&read["content"], &read["truncated"]), (&json!(""), &json!(false)));

    trial.write("long", "abcdefghijklmnopqrstuvwxyz\nü\n");
    let read = trial.call("read_file", json!({"path": "long"})).await;
    assert_eq!(read["content"], "1|abcdefghijkl... [truncated]\n2|ü");
    fs_err::write(trial.work.join("bin"), b"\x7fELF\0\0").unwrap();
    assert!(
        trial.call("read_file", json!({"path": "bin"})).await["error"].as_str().unwrap().contains("no text")
    );
    nix::unistd::mkfifo(trial.work.join("pipe").as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        trial.call("read_file", json!({"path": "pipe"})).await["error"].as_str().unwrap().contains("pipe")
    );
    assert!(
        trial.call("read_file", json!({"path": "."})).await["error"].as_str().unwrap().contains("directory")
    );
    let missing = trial.call("read_file", json!({"path": "a.md"})).await;
    assert_eq!(missing["similar_files"], json!([trial.work.join("a.txt")]), "{missing}");
}

#[tokio::test]
async fn files_are_written_whole_with_their_mode_and_line_ends() {
    let trial = Trial::new();
    let done = trial.call("write_file", json!({"path": "new/dir/a.sh", "content": "one\n"})).await;
    assert_eq!((&done["bytes_written"], &done["dirs_created"]), (&json!(4), &json!(true)), "{done}");
    assert_eq!(done["resolved_path"], trial.work.join("new/dir/a.sh").as_str());
    let path = trial.work.join("new/dir/a.sh");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
    trial.call("write_file", json!({"path": "new/dir/a.sh", "content": "two\n"})).await;
    assert_eq!(trial.text("new/dir/a.sh"), "two\n");
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o751);
    assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    trial.write("win.txt", "\u{feff}a\r\nb\r\n");
    trial.call("write_file", json!({"path": "win.txt", "content": "c\nd\n"})).await;
    assert_eq!(trial.text("win.txt"), "\u{feff}c\r\nd\r\n");
    // A link within the workspace stays one.
    symlink("win.txt", trial.work.join("alias")).unwrap();
    trial.call("write_file", json!({"path": "alias", "content": "e"})).await;
    assert!(fs_err::symlink_metadata(trial.work.join("alias")).unwrap().is_symlink());
    assert_eq!(trial.text("win.txt"), "\u{feff}e");
    let refused = trial.call("write_file", json!({"path": "/etc/passwd", "content": ""})).await;
    assert!(refused["error"].as_str().unwrap().contains("belongs to the system"));
}

#[tokio::test]
async fn files_are_patched_or_left_as_they_are() {
    let trial = Trial::new();
    trial.write("a.rs", "fn a() {\r\n    one();\r\n}\r\n");
    let done =
        trial.call("patch", json!({"path": "a.rs", "old_string": "one( );", "new_string": "two();"})).await;
    assert_eq!(done["success"], false, "no white space is no white space: {done}");
    let done = trial
        .call(
            "patch",
            json!({"path": "a.rs", "old_string": "fn a() {\n  one();", "new_string": "fn a() {\n  two();"}),
        )
        .await;
    assert_eq!(
        (&done["success"], &done["resolved_path"]),
        (&json!(true), &json!(trial.work.join("a.rs"))),
        "{done}"
    );
    assert!(done["diff"].as_str().unwrap().contains("-    one();\r\n+"), "{done}");
    let patch = "*** Begin Patch\n*** Update File: a.rs\n@@ fn a() {\n-    two();\n+    three();\n*** Add File: b/c.txt\n+hello\n\
                 *** Update File: b/c.txt\n-hello\n+bye\n*** Move File: m -> n\n*** Delete File: d\n*** End Patch\n";
    let done = trial.call("patch", json!({"mode": "patch", "patch": patch})).await;
    let error = done["error"].as_str().unwrap();
    assert!(error.contains("no file was changed") && error.contains("/m") && error.contains("/d"), "{error}");
    assert!(!trial.work.join("b").exists());
    trial.write("m", "moved");
    trial.write("d", "gone");
    let done = trial.call("patch", json!({"mode": "patch", "patch": patch})).await;
    assert_eq!(done["success"], true, "{done}");
    assert_eq!(done["files_created"], json!([trial.work.join("b/c.txt")]));
    assert_eq!(done["files_deleted"], json!([trial.work.join("d")]));
    assert_eq!((trial.text("b/c.txt"), trial.text("n")), ("bye\n".to_owned(), "moved".to_owned()));
    assert!(!trial.work.join("m").exists() && !trial.work.join("d").exists());
    let again = trial.call("patch", json!({"path": "a.rs", "old_string": "}", "new_string": "} }"})).await;
    assert_eq!(again["success"], true, "{again}");
    let many = trial.call("patch", json!({"path": "a.rs", "old_string": "}", "new_string": ""})).await;
    assert!(many["error"].as_str().unwrap().contains("found 2 matches"), "{many}");
    assert!(trial.text("a.rs").ends_with("three();\r\n} }\r\n"), "{:?}", trial.text("a.rs"));
}

#[tokio::test]
async fn files_are_searched() {
    let trial = Trial::new();
    trial.write("src/a.rs", "one\ntwo\nneedle 1\nfour\n");
    trial.write("src/b.txt", "needle 2\nneedle 3\n");
    trial.write("ignored/c.rs", "needle\n");
    trial.write(".gitignore", "ignored/\n");
    trial.write(".hidden", "needle\n");
    let found = trial.call("search_files", json!({"pattern": "needle \\d", "file_glob": "*.rs"})).await;
    assert_eq!(
        found,
        json!({"total_count": 1, "matches": [{"path": "src/a.rs", "line": 3, "content": "needle 1"}]})
    );
    let found = trial.call("search_files", json!({"pattern": "needle", "context": 1})).await;
    assert_eq!(
        found["matches_text"],
        "src/a.rs\n  2: two\n  3: needle 1\n  4: four\nsrc/b.txt\n  1: needle 2\n  2: needle 3"
    );
    let found = trial.call("search_files", json!({"pattern": "needle", "limit": 1, "offset": 1})).await;
    assert_eq!((&found["total_count"], &found["truncated"]), (&json!(3), &json!(true)));
    assert_eq!(found["matches"][0]["line"], 1, "{found}");
    let found =
        trial.call("search_files", json!({"pattern": "needle", "output_mode": "count", "path": "src"})).await;
    assert_eq!(found["counts"], json!({"src/a.rs": 1, "src/b.txt": 2}));
    let found = trial.call("search_files", json!({"pattern": "needle", "output_mode": "files_only"})).await;
    assert_eq!(found["files"], json!(["src/a.rs", "src/b.txt"]));
    let found = trial.call("search_files", json!({"pattern": "b.t", "target": "files"})).await;
    assert_eq!(found["total_count"], 0, "{found}");
    let found = trial.call("search_files", json!({"pattern": "*.txt", "target": "files"})).await;
    assert_eq!(found["files"], json!(["src/b.txt"]));
    let wrong = trial.call("search_files", json!({"pattern": "("})).await;
    assert!(wrong["error"].as_str().unwrap().contains("no regular expression"), "{wrong}");
}

/// The directory that the profile works in is made when it is first needed; one that its owner chose is not.
#[tokio::test]
async fn the_workspace_is_where_the_configuration_says() {
    let trial = Trial::new();
    fs_err::remove_dir_all(&trial.work).unwrap();
    trial.call("write_file", json!({"path": "a", "content": "x"})).await;
    assert_eq!(trial.text("a"), "x");
    let trial = Trial::with(|config| config.tools.cwd = Some("elsewhere".into()));
    let refused = trial.call("write_file", json!({"path": "a", "content": "x"})).await;
    assert!(refused["error"].as_str().unwrap().contains("`terminal.cwd` in config.yaml"), "{refused}");
    fs_err::create_dir(trial.home.join("elsewhere")).unwrap();
    trial.call("write_file", json!({"path": "a", "content": "x"})).await;
    assert!(trial.home.join("elsewhere/a").exists());
}
