//! Where this executable comes from.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;

use super::cargo::{self, Package};

/// Largest list of installed crates that is read, in bytes.
const LIST: usize = 16 * 1024 * 1024;
/// Deepest place of an executable below the directory it was built in.
const DEPTH: usize = 6;

/// Who put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `cargo install` into this root.
    Cargo { root: Utf8PathBuf, package: Package },
    /// A build in a checkout.
    Checkout { directory: Utf8PathBuf, release: bool },
    /// A package manager.
    Managed { by: String, next: String },
    /// Nobody that can be told.
    Unknown,
}

impl Origin {
    /// The word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Cargo { .. } => "cargo",
            Self::Checkout { .. } => "checkout",
            Self::Managed { .. } => "package-manager",
            Self::Unknown => "unknown",
        }
    }
}

/// Finds out about `exe`. `managed` is what the variable `HERMES_MANAGED` says, and what the file `.managed` of a home stands for.
pub(crate) fn of(exe: &Utf8Path, managed: &[String]) -> Origin {
    if let Some((by, next)) = managed.iter().find_map(|value| manager(value)).or_else(|| place(exe)) {
        return Origin::Managed { by: by.to_owned(), next };
    }
    if let Some((root, package)) = installed(exe) {
        return Origin::Cargo { root, package };
    }
    if let Some(directory) = build_directory(exe) {
        let release = exe.components().any(|part| part.as_str() == "release");
        return Origin::Checkout { directory, release };
    }
    Origin::Unknown
}

/// What a value of `HERMES_MANAGED` means; 0.19.0's values.
fn manager(value: &str) -> Option<(&str, String)> {
    let value = value.trim();
    Some(match value.to_ascii_lowercase().as_str() {
        "" | "0" | "false" | "no" | "off" => return None,
        "1" | "true" | "yes" | "on" | "nix" | "nixos" => (
            "NixOS",
            "change the version in your configuration and run: sudo nixos-rebuild switch".to_owned(),
        ),
        "brew" | "homebrew" => ("Homebrew", "run: brew upgrade hermes".to_owned()),
        _ => (value, format!("update it with {value}")),
    })
}

/// Who owns files in this place.
fn place(exe: &Utf8Path) -> Option<(&'static str, String)> {
    let has = |name: &str| exe.components().any(|part| part.as_str() == name);
    if exe.starts_with("/nix/store") {
        return Some(("Nix", "update the profile or configuration that it is part of".to_owned()));
    }
    if has("Cellar") {
        return Some(("Homebrew", "run: brew upgrade hermes".to_owned()));
    }
    let system = ["/usr/bin", "/usr/sbin", "/usr/lib", "/bin", "/sbin"];
    system.iter().any(|dir| exe.starts_with(dir)).then(|| {
        let next = format!("update its package; `dpkg -S {exe}` or `rpm -qf {exe}` names it");
        ("the package manager of this system", next)
    })
}

/// The entry of cargo's list that names `exe`.
fn installed(exe: &Utf8Path) -> Option<(Utf8PathBuf, Package)> {
    let bin = exe.parent().filter(|dir| dir.file_name() == Some("bin"))?;
    let root = bin.parent()?;
    let list = disk::read_bounded(&root.join(".crates2.json"), LIST).ok()?;
    Some((root.to_owned(), cargo::package_of(&list, exe.file_name()?)?))
}

/// The directory above cargo's build directory, which carries a tag of cargo's.
fn build_directory(exe: &Utf8Path) -> Option<Utf8PathBuf> {
    let tagged = exe.ancestors().skip(1).take(DEPTH).find(|dir| {
        let tag = disk::read_start(&dir.join("CACHEDIR.TAG"), 512).unwrap_or_default();
        String::from_utf8_lossy(&tag).contains("created by cargo")
    })?;
    let directory = tagged.parent()?;
    directory.join("Cargo.toml").is_file().then(|| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_known_by_variable_and_by_place() {
        let by = |exe: &str, managed: Option<&str>| match of(
            exe.into(),
            &managed.into_iter().map(str::to_owned).collect::<Vec<_>>(),
        ) {
            Origin::Managed { by, .. } => by,
            other => other.word().to_owned(),
        };
        assert_eq!(by("/x/hermes", Some("true")), "NixOS");
        assert_eq!(by("/x/hermes", Some(" brew ")), "Homebrew");
        assert_eq!(by("/x/hermes", Some("Guix")), "Guix");
        assert_eq!(by("/x/hermes", Some("false")), "unknown");
        assert_eq!(by("/nix/store/abc-hermes/bin/hermes", None), "Nix");
        assert_eq!(by("/home/linuxbrew/.linuxbrew/Cellar/hermes/1/bin/hermes", None), "Homebrew");
        assert_eq!(by("/usr/bin/hermes", None), "the package manager of this system");
        assert_eq!(by("/usr/local/bin/hermes", None), "unknown");
    }

    #[test]
    fn a_build_is_known_by_cargos_tag() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let exe = dir.join("target/x86_64-unknown-linux-gnu/release/hermes");
        fs_err::create_dir_all(exe.parent().unwrap()).unwrap();
        fs_err::write(dir.join("Cargo.toml"), "").unwrap();
        assert_eq!(of(&exe, &[]), Origin::Unknown);
        fs_err::write(dir.join("target/CACHEDIR.TAG"), "Signature: x\n# created by cargo\n").unwrap();
        assert_eq!(of(&exe, &[]), Origin::Checkout { directory: dir.to_owned(), release: true });
    }
}
