//! The Debian package, installed, updated and removed by `dpkg` below a directory, with a gateway that runs its program.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::command::{Ran, outside};
use hermes_tests::home::give;
use hermes_tests::{Gateway, Home, tools};

/// `nobody` of Debian.
const NOBODY: u32 = 65_534;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn ran(program: &str, args: &[&str]) -> Ran {
    outside(Utf8Path::new(program)).args(args).env("PATH", PATH).env("LC_ALL", "C").output().unwrap().into()
}

/// The package with the program under test, and the same as a later release.
fn packages(packer: &std::path::Path, into: &Utf8Path) -> [Utf8PathBuf; 2] {
    let workspace = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let one = into.join("one.deb");
    let mut command = outside(Utf8Path::from_path(packer).unwrap());
    command.current_dir(workspace).args([
        "-p",
        "hermes-cli",
        "--no-build",
        "--no-strip",
        "--profile",
        "dev",
        "--fast",
    ]);
    command.args([
        "--compress-type",
        "gzip",
        "--compress-system",
        "--output",
        one.as_str(),
        "--deb-version",
        "1.0-1",
    ]);
    let made: Ran = command.output().unwrap().into();
    assert_eq!(made.code, Some(0), "{made:#?}");
    let (unpacked, two) = (into.join("unpacked"), into.join("two.deb"));
    ran("dpkg-deb", &["-R", one.as_str(), unpacked.as_str()]).ok();
    let control = unpacked.join("DEBIAN/control");
    let text = fs_err::read_to_string(&control).unwrap();
    fs_err::write(&control, text.replace("Version: 1.0-1", "Version: 1.1-1")).unwrap();
    ran("dpkg-deb", &["-Znone", "--build", unpacked.as_str(), two.as_str()]).ok();
    [one, two]
}

/// A machine's files below a directory: `dpkg` knows nothing else, and scripts run where we are.
struct Machine {
    _dir: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Machine {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new().prefix("d").tempdir_in("/tmp").unwrap();
        fs_err::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("root")).unwrap();
        for sub in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
            fs_err::create_dir_all(root.join(sub)).unwrap();
        }
        fs_err::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self { _dir: dir, root }
    }

    fn dpkg(&self, args: &[&str]) -> Ran {
        let root = format!("--root={}", self.root);
        ran("dpkg", &[&[root.as_str(), "--force-script-chrootless,depends"], args].concat())
    }

    fn program(&self) -> Utf8PathBuf {
        self.root.join("usr/bin/hermes")
    }
}

#[test]
fn n5_7_a_package_updates_a_gateway_that_runs_and_stops_it_before_it_goes() {
    if !tools::have("dpkg") || !tools::may_be_others() {
        return;
    }
    let Some(packer) = tools::built("cargo-deb") else { return };
    let machine = Machine::new();
    let [one, two] = packages(&packer, machine.root.parent().unwrap());
    machine.dpkg(&["-i", one.as_str()]).ok();
    for file in [
        "usr/share/man/man1/hermes.1.gz",
        "usr/share/man/man1/hermes-gateway-run.1.gz",
        "usr/share/bash-completion/completions/hermes",
        "usr/share/zsh/vendor-completions/_hermes",
        "usr/share/fish/vendor_completions.d/hermes.fish",
        "usr/share/doc/hermes-gateway/copyright",
        "usr/share/doc/hermes-gateway/docs/deploy.md",
        "usr/share/doc/hermes-gateway/examples/runit/hermes-gateway/finish",
        "usr/share/doc/hermes-gateway/examples/openrc/init.d/hermes-gateway",
    ] {
        assert!(machine.root.join(file).is_file(), "{file}");
    }

    let home = Home::new();
    home.profile("coder");
    home.give_to(NOBODY);
    let mut gateway = Gateway::start_at(machine.program().as_std_path(), &home);
    gateway.wait_ready("coder");
    let (pid, worker) = (gateway.pid(), gateway.worker("coder"));
    let runs = || fs_err::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(runs(), machine.program());

    let updated = machine.dpkg(&["-i", two.as_str()]);
    let said = format!("hermes: gateway of user {NOBODY} (PID {pid}): ✓");
    assert_eq!(updated.code, Some(0), "{updated:#?}");
    assert!(updated.out.contains(&said) && !updated.err.contains("old program"), "{updated:#?}");
    assert_eq!(
        runs(),
        machine.program(),
        "the same process is the new program: the link of the old one says (deleted)"
    );
    gateway.wait_replaced("coder", worker);

    // A second update of the same version is one more, and nobody is in the way where no gateway runs.
    let removed = machine.dpkg(&["--remove", "hermes-gateway"]);
    assert_eq!(removed.code, Some(0), "{removed:#?}");
    assert!(removed.out.contains(&said), "{removed:#?}");
    assert_eq!(gateway.wait(), Some(0));
    assert!(!machine.program().exists());
    let before = home.read("coder", "config.yaml");
    let purged = machine.dpkg(&["--purge", "hermes-gateway"]);
    assert_eq!(purged.code, Some(0), "{purged:#?}");
    assert!(
        before.is_some()
            && home.read("coder", "config.yaml") == before
            && home.root().join("state.db").exists()
    );
    give(&home.root(), 0);
}

#[test]
fn n5_7_what_does_not_take_up_the_new_program_is_named_and_breaks_no_package() {
    if !tools::have("dpkg") || !tools::may_be_others() {
        return;
    }
    let Some(packer) = tools::built("cargo-deb") else { return };
    let machine = Machine::new();
    let [one, two] = packages(&packer, machine.root.parent().unwrap());
    machine.dpkg(&["-i", one.as_str()]).ok();
    let home = Home::new();
    home.give_to(NOBODY);
    let mut gateway = Gateway::start_at(machine.program().as_std_path(), &home);
    fs_err::write(home.root().join("config.yaml"), "agent: [\n").unwrap();
    let pid = gateway.pid();
    let updated = machine.dpkg(&["-i", two.as_str()]);
    assert_eq!(updated.code, Some(0), "{updated:#?}");
    let said = format!(
        "hermes: the gateway of user {NOBODY} (PID {pid}) still runs the old program: `hermes gateway restart`"
    );
    assert!(updated.err.contains(&said), "{updated:#?}");
    assert_eq!(gateway.stop(), Some(0));
}
