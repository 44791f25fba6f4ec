//! What is hidden and what is put back, on homes as they may lie.

use super::*;

/// A place in a temporary directory, all names in it resolved.
struct Homes {
    _dir: tempfile::TempDir,
    at: Utf8PathBuf,
}

impl Homes {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        let homes = Self { _dir: dir, at };
        for path in
            ["root/profiles/coder/workspace", "root/profiles/coder/skills", "root/profiles/ops", "root/bin"]
        {
            homes.make(path);
        }
        homes
    }

    fn make(&self, path: &str) -> Utf8PathBuf {
        fs_err::create_dir_all(self.at.join(path)).unwrap();
        self.at.join(path)
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.at.join(path)
    }

    fn place(&self, home: &str) -> Place {
        Place {
            home: self.path(home),
            root: self.path("root"),
            workspace: self.path(home).join("workspace"),
            runtime: Vec::new(),
            managed: self.path("etc"),
            named: Vec::new(),
            sockets: Vec::new(),
            supervisor: None,
            is_root: false,
        }
    }
}

#[test]
fn a_home_is_empty_but_for_what_programs_are_for() {
    let homes = Homes::new();
    let plan = Plan::of(&homes.place("root/profiles/coder")).unwrap();
    let coder = homes.path("root/profiles/coder");
    let expected = [
        Step::Empty(homes.path("root")),
        Step::Dir(coder.clone()),
        Step::Keep(coder.join("workspace")),
        Step::Keep(coder.join("skills")),
        Step::See(homes.path("root/bin")),
        Step::Seal(homes.path("root")),
    ];
    assert_eq!(plan.0, expected);
    for (path, shown) in [
        ("root/.env", false),
        ("root/profiles/ops/workspace", false),
        ("root/profiles/coder/config.yaml", false),
        ("root/profiles/coder/workspace/x", true),
        ("root/bin/tool", true),
        ("rooted", true),
    ] {
        assert_eq!(plan.shows(&homes.path(path)), shown, "{path}");
    }
    let words = plan.words();
    assert_eq!(Plan::read(words.into_iter()), Some(plan));
    assert_eq!(Plan::read(["keep".to_owned()].into_iter()), None);
    assert_eq!(Plan::read(["open", "/"].map(str::to_owned).into_iter()), None);
}

#[test]
fn a_workspace_is_put_back_unless_it_is_a_home_or_anothers() {
    let homes = Homes::new();
    for (workspace, comes_back) in [
        ("root/projects", true),
        ("root/profiles/coder/code", true),
        ("root", false),
        ("root/profiles", false),
        ("root/profiles/coder", false),
        ("root/profiles/ops/workspace", false),
        ("elsewhere", false),
    ] {
        let mut place = homes.place("root/profiles/coder");
        place.workspace = homes.make(workspace);
        let plan = Plan::of(&place).unwrap();
        assert_eq!(plan.0.contains(&Step::Keep(place.workspace.clone())), comes_back, "{workspace}");
    }
    // Of `default` that is the root home.
    let mut place = homes.place("root");
    place.workspace = homes.path("root/projects");
    assert!(Plan::of(&place).unwrap().0.contains(&Step::Keep(homes.path("root/projects"))));
}

#[test]
fn links_lead_where_they_did_unless_that_is_hidden() {
    let homes = Homes::new();
    let coder = homes.path("root/profiles/coder");
    let dotfiles = homes.make("dotfiles/skills");
    fs_err::remove_dir(coder.join("skills")).unwrap();
    std::os::unix::fs::symlink(&dotfiles, coder.join("skills")).unwrap();
    std::os::unix::fs::symlink(homes.path("root/profiles/ops"), coder.join("home")).unwrap();
    std::os::unix::fs::symlink("nowhere", coder.join("plans")).unwrap();
    // A home that lies elsewhere is hidden there, too.
    let away = homes.make("away");
    std::os::unix::fs::symlink(&away, homes.path("root/profiles/away")).unwrap();
    let plan = Plan::of(&homes.place("root/profiles/coder")).unwrap();
    assert!(plan.0.contains(&Step::Link(coder.join("skills"), dotfiles)));
    assert!(
        !plan
            .0
            .iter()
            .any(|step| step.back().is_some_and(|path| path.ends_with("home") || path.ends_with("plans")))
    );
    assert!(plan.0.contains(&Step::Empty(away.clone())) && !plan.shows(&away.join(".env")));
}

#[test]
fn what_lies_in_what_is_put_back_is_hidden_again() {
    let homes = Homes::new();
    let hub = homes.make("root/profiles/coder/skills/.hub");
    homes.make("root/hermes-agent");
    fs_err::write(homes.path("root/hermes-agent/.env"), "").unwrap();
    let mut place = homes.place("root/profiles/coder");
    place.runtime = vec![homes.make("run")];
    place.named = vec!["../../shared".to_owned()];
    let shared = homes.make("root/shared");
    let plan = Plan::of(&place).unwrap();
    assert!(!plan.shows(&hub.join("lock.json")) && plan.shows(&homes.path("root/hermes-agent/x.py")));
    assert!(plan.0.contains(&Step::Cover(homes.path("root/hermes-agent/.env"))));
    assert!(plan.0.contains(&Step::See(shared)));
    // Sockets of its own may be made there.
    assert!(
        plan.0.contains(&Step::Scratch(homes.path("run")))
            && !plan.0.contains(&Step::Seal(homes.path("run")))
    );
    let at = |wanted: &Step| plan.0.iter().position(|step| step == wanted).unwrap();
    assert!(at(&Step::Empty(hub.clone())) > at(&Step::Keep(homes.path("root/profiles/coder/skills"))));
    assert!(at(&Step::Seal(hub.clone())) > at(&Step::Empty(hub)));
}

#[test]
fn what_cannot_be_looked_at_is_an_error() {
    let homes = Homes::new();
    let mut place = homes.place("root/profiles/coder");
    place.root = homes.path("nothing");
    assert!(Plan::of(&place).is_err());
}
