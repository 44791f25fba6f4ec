//! Skills in real folders: what is found, offered, shown and refused.

use serde_json::json;

use super::index::Offered;
use super::*;

struct Place {
    dir: tempfile::TempDir,
    config: ProfileConfig,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), config: ProfileConfig::new("coder".parse().unwrap()) }
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).unwrap()
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.path().join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    fn skill(&self, place: &str, name: &str, more: &str) -> &Self {
        let text = format!(
            "---\nname: {name}\ndescription: About {name}.\n{more}---\n# {name}\nin ${{HERMES_SKILL_DIR}}\n"
        );
        self.write(&format!("{place}/SKILL.md"), &text)
    }

    fn library(&self) -> Library {
        Library::new(&ProfileHome::new(self.path().join("home")), &self.config)
    }

    fn names(&self, platform: &str) -> Vec<String> {
        self.library().usable(platform).into_iter().map(|skill| skill.name).collect()
    }
}

#[test]
fn what_counts_is_for_this_machine_on_and_the_first_of_its_name() {
    let mut place = Place::new();
    place
        .skill("home/skills/b", "one", "")
        .skill("home/skills/writing/deep/c", "two", "")
        .skill("home/skills/off", "three", "")
        .skill("home/skills/there", "four", "")
        .skill("home/skills/other", "five", "platforms: [amiga]\n")
        .skill("home/skills/.git/x", "six", "")
        .skill("home/skills/b/references/x", "seven", "")
        .skill("more/z", "one", "")
        .skill("more/y", "eight", "")
        .write("home/skills/broken/SKILL.md", "# no head\n");
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    place.config.skills.external_dirs = list(&["../more"]);
    place.config.skills.disabled = list(&["three"]);
    place.config.skills.platform_disabled.insert("telegram".to_owned(), list(&["there"]));
    assert_eq!(place.names("api_server"), ["one", "four", "two", "eight"]);
    assert_eq!(place.names("telegram"), ["one", "two", "eight"]);
    // A change is seen, a link that leads elsewhere is not followed.
    let library = place.library();
    library.usable("");
    place.skill("home/skills/b", "uno!", "").write("secret", "---\ndescription: of another\n---\n");
    fs_err::create_dir(place.path().join("home/skills/link")).unwrap();
    fs_err::os::unix::fs::symlink(
        place.path().join("secret"),
        place.path().join("home/skills/link/SKILL.md"),
    )
    .unwrap();
    let names: Vec<String> = library.usable("").into_iter().map(|skill| skill.name).collect();
    assert_eq!(names, ["uno!", "four", "two", "eight", "one"]);
}

#[test]
fn the_index_has_the_order_and_form_of_0_19_0() {
    let mut place = Place::new();
    place
        .skill("home/skills/writing/b", "beta", "")
        .skill("home/skills/writing/a", "alpha", "metadata: {hermes: {requires_tools: [terminal]}}\n")
        .skill("home/skills/alone", "solo", "")
        .skill("home/skills/web", "pages", "metadata: {hermes: {fallback_for_toolsets: [web]}}\n")
        .write("home/skills/writing/DESCRIPTION.md", "---\ndescription: What is done for money.\n---\n")
        .write(
            "home/skills/long/SKILL.md",
            &format!("---\nname: long\ndescription: {}\n---\n", "x".repeat(70)),
        );
    place.config.skills.platform_disabled.insert("telegram".to_owned(), vec!["solo".to_owned()]);
    let shelf = place.library().shelf();
    let block = |platform: &str, tools: &[&str], toolsets: &[&str]| {
        let (tools, toolsets) = (tools.iter().copied().collect(), toolsets.iter().copied().collect());
        shelf.block(platform, Offered { tools: &tools, toolsets: &toolsets })
    };
    let text = block("cli", &["terminal"], &["web"]);
    assert!(text.starts_with("## Skills (mandatory)\n"), "{text}");
    let long = format!("{}...", "x".repeat(57));
    let index = format!(
        "\n\n<available_skills>\n  alone:\n    - solo: About solo.\n  long:\n    - long: {long}\n  writing: What is done for money.\n    \
         - alpha: About alpha.\n    - beta: About beta.\n</available_skills>\n\n"
    );
    assert!(text.contains(&index), "{text}");
    let text = block("telegram", &[], &[]);
    assert!(
        text.contains("- pages: ") && !text.contains("- alpha: ") && !text.contains("- solo: "),
        "{text}"
    );
    assert_eq!(
        Place::new().library().shelf().block("", Offered { tools: &[].into(), toolsets: &[].into() }),
        ""
    );
}

#[test]
fn a_skill_and_its_files_are_given_and_nothing_else() {
    let mut place = Place::new();
    place
        .skill("home/skills/writing/a", "alpha", "required_environment_variables: [A_KEY]\n")
        .skill("home/skills/play/a", "beta", "")
        .write("home/skills/writing/a/references/api.md", "the api")
        .write("home/skills/writing/a/assets/x.bin", "\u{0}")
        .write("home/.env", "SECRET=1");
    let bin = place.path().join("home/skills/writing/a/assets/x.bin");
    fs_err::write(&bin, b"\xff\xfe").unwrap();
    let dir = place.path().join("home/skills/writing/a");
    fs_err::os::unix::fs::symlink("../../../.env", dir.join("link")).unwrap();
    let library = place.library();
    let view = |name: &str, file: Option<&str>| library.view(name, file, "cli", "s-1");
    let whole = view("alpha", None);
    assert_eq!(
        whole["linked_files"],
        json!({"references": ["references/api.md"], "assets": ["assets/x.bin"]})
    );
    assert!(whole["content"].as_str().unwrap().contains(&format!("in {dir}\n")), "{whole}");
    assert_eq!(whole["path"], "writing/a/SKILL.md");
    assert_eq!(
        (&whole["setup_needed"], &whole["missing_required_environment_variables"]),
        (&json!(true), &json!(["A_KEY"]))
    );
    assert_eq!(view("alpha", Some("references/api.md"))["content"], "the api");
    assert_eq!(view("alpha", Some("assets/x.bin"))["is_binary"], true);
    assert_eq!(view("alpha", Some("../../../.env"))["error"], "Path traversal ('..') is not allowed.");
    for outside in ["link", "/etc/passwd"] {
        assert_eq!(view("alpha", Some(outside))["error"], "Path escapes allowed directory.", "{outside}");
    }
    assert_eq!(view("alpha", Some("none.md"))["error"], "File 'none.md' not found in skill 'alpha'.");
    assert!(
        view("a", None)["error"].as_str().unwrap().starts_with("Ambiguous skill name 'a': 2 skills match")
    );
    assert_eq!(view("play/a", None)["name"], "beta");
    assert_eq!(view("zeta", None)["available_skills"], json!(["alpha", "beta"]));
    for odd in ["", "/etc", "../x", "a/../b"] {
        assert!(view(odd, None)["error"].as_str().unwrap().starts_with("Invalid skill name"), "{odd}");
    }
    let listed = library.list(Some("writing"), "cli");
    assert_eq!(
        listed["skills"],
        json!([{"name": "alpha", "description": "About alpha.", "category": "writing"}])
    );
    place.config.skills.disabled = vec!["alpha".to_owned()];
    let refused = place.library().view("alpha", None, "cli", "");
    assert!(refused["error"].as_str().unwrap().starts_with("Skill 'alpha' is disabled."), "{refused}");
}

#[test]
fn a_command_becomes_the_invocation_of_its_skill() {
    let place = Place::new();
    place
        .skill("home/skills/Git Helper", "Git_Helper", "")
        .write("home/skills/Git Helper/scripts/run.sh", "");
    let library = place.library();
    let text = library.expanded("/git-helper  rebase it", "telegram").unwrap();
    assert!(
        text.starts_with(
            "[IMPORTANT: The user has invoked the \"Git_Helper\" skill, indicating they want you to follow its instructions. The full skill \
             content is loaded below.]\n\n---\nname: Git_Helper\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n- scripts/run.sh\n")
            && text.ends_with("\n\nThe user has provided the following instruction alongside the skill invocation: rebase it"),
        "{text}"
    );
    assert_eq!(library.expanded("/nothing here", "telegram"), None);
    let names = ["gone".to_owned(), "Git_Helper".to_owned()];
    assert!(library.first_of(&names, "an event", "webhook").unwrap().ends_with("invocation: an event"));
    assert_eq!(library.first_of(&names[..1], "an event", "webhook"), None);
}
