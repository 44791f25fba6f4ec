//! Temporary root homes.

use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

/// Names the directory in which homes are made, where that is not `/tmp`.
pub(crate) const PLACE: &str = "HERMES_TEST_HOMES";

/// Key of the default profile's API server in tests.
pub const DEFAULT_KEY: &str = "default-api-key-0123456789";
/// Secret of every webhook route in tests that names none.
pub const SECRET: &str = "webhook-secret-of-tests";

/// A root home in a temporary directory, removed on drop.
pub struct Home {
    dir: TempDir,
    /// Who runs everything on it; `None`: who runs the tests.
    user: std::sync::OnceLock<u32>,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// Multiplexing on, `echo`, webhook and api_server on loopback port 0, short timings.
    pub fn new() -> Self {
        Self::with_config(&Self::config("true", ""))
    }

    /// The default profile's `config.yaml`, with `extra` lines appended under `gateway:`.
    pub fn config(multiplex: &str, extra: &str) -> String {
        format!(
            "agent: {{engine: echo, restart_drain_timeout: 5}}\n\
             gateway:\n  multiplex_profiles: {multiplex}\n{extra}\
             platforms:\n  webhook:\n    enabled: true\n    extra:\n      host: 127.0.0.1\n      port: 0\n      rate_limit: 1000000\n\
             \x20     secret: {SECRET}\n      routes:\n        hook: {{prompt: 'say {{text}}'}}\n\
             \x20 api_server:\n    enabled: true\n    extra: {{host: 127.0.0.1, port: 0}}\n"
        )
    }

    /// A home whose default profile has this `config.yaml` and the test key in `.env`.
    pub fn with_config(config: &str) -> Self {
        let home = Self::empty();
        home.furnish(config);
        home
    }

    /// Writes the default profile's `config.yaml` and the test key in `.env`.
    pub fn furnish(&self, config: &str) -> &Self {
        self.write("default", "config.yaml", config);
        self.write("default", ".env", &format!("API_SERVER_KEY={DEFAULT_KEY}\n"))
    }

    /// Gives everything that is there now to another user, who runs everything on it from now on. Only root can do this.
    pub fn give_to(&self, user: u32) {
        // Others may pass, and nothing more.
        set_mode(self.path(), 0o711);
        for sub in [self.root(), self.runtime(), self.user()] {
            give(&sub, user);
        }
        self.user.set(user).expect("a home is given away once");
    }

    /// Who runs everything on it, where that is another user.
    pub(crate) fn runs_as(&self) -> Option<u32> {
        self.user.get().copied()
    }

    /// Directories only.
    pub fn empty() -> Self {
        Self::within(std::env::var_os(PLACE).unwrap_or_else(|| "/tmp".into()).as_ref())
    }

    /// The same as [`Home::new`] in no temporary directory, for which services are refused.
    pub fn lasting() -> Self {
        let exe = std::env::current_exe().unwrap();
        let home = Self::within(exe.parent().unwrap());
        home.furnish(&Self::config("true", ""));
        home
    }

    fn within(place: &std::path::Path) -> Self {
        // Short: socket paths below it must fit into a socket address.
        let dir = tempfile::Builder::new().prefix("h").tempdir_in(place).unwrap();
        let home = Self { dir, user: std::sync::OnceLock::new() };
        for sub in ["root", "run", "user"] {
            fs_err::create_dir(home.path().join(sub)).unwrap();
        }
        set_mode(&home.runtime(), 0o700);
        home
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).unwrap()
    }

    /// The root home.
    pub fn root(&self) -> Utf8PathBuf {
        self.path().join("root")
    }

    /// `XDG_RUNTIME_DIR` of everything started on this home.
    pub fn runtime(&self) -> Utf8PathBuf {
        self.path().join("run")
    }

    /// `HOME` of everything started on this home.
    pub fn user(&self) -> Utf8PathBuf {
        self.path().join("user")
    }

    /// The home of a profile.
    pub fn of(&self, profile: &str) -> Utf8PathBuf {
        if profile == "default" { self.root() } else { self.root().join("profiles").join(profile) }
    }

    /// Adds a profile: `echo`, a webhook route `hook`, a key `<name>-api-key-0123456789`.
    pub fn profile(&self, name: &str) -> &Self {
        self.profile_with(
            name,
            &format!(
                "agent: {{engine: echo}}\nplatforms: {{webhook: {{extra: {{secret: {SECRET}-{name}, rate_limit: 1000000, routes: {{hook: {{prompt: 'say {{text}}'}}}}}}}}}}\n"
            ),
            &format!("API_SERVER_KEY={}\n", Self::key(name)),
        )
    }

    /// Adds a profile with these files.
    pub fn profile_with(&self, name: &str, config: &str, env: &str) -> &Self {
        self.write(name, ".env", env);
        self.write(name, "config.yaml", config)
    }

    /// Lets everybody talk to a profile, by whichever bot.
    pub fn lets_everybody_in(&self, name: &str) -> &Self {
        let env = self.read(name, ".env").unwrap_or_default();
        self.write(name, ".env", &format!("{env}GATEWAY_ALLOW_ALL_USERS=true\n"))
    }

    /// The API key of a profile made by [`Home::profile`].
    pub fn key(profile: &str) -> String {
        format!("{profile}-api-key-0123456789")
    }

    /// Writes a file of a profile's home, as an editor does: beside it, then renamed over it.
    pub fn write(&self, profile: &str, file: &str, text: &str) -> &Self {
        let path = self.of(profile).join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let temporary = path.with_file_name(format!(".{}.tmp", path.file_name().unwrap()));
        fs_err::write(&temporary, text).unwrap();
        set_mode(&temporary, 0o600);
        fs_err::rename(&temporary, &path).unwrap();
        self
    }

    /// Reads a file of a profile's home.
    pub fn read(&self, profile: &str, file: &str) -> Option<String> {
        fs_err::read_to_string(self.of(profile).join(file)).ok()
    }
}

fn set_mode(path: &Utf8Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the owner of a whole tree.
pub fn give(path: &Utf8Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if fs_err::symlink_metadata(path).unwrap().is_dir() {
        for entry in path.read_dir_utf8().unwrap() {
            give(entry.unwrap().path(), user);
        }
    }
}
