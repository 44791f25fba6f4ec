//! Which crate of ours depends on which other of ours.

use std::path::{Path, PathBuf};

/// A crate and the only crates of ours it may depend on. The only crate that names both gateway and worker is the one with the binary.
///
/// That the running gateway has no way to name `hermes-config` is what keeps secrets out of it: nobody there can open
/// `config.yaml` or `.env` with what reads them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hermes-wire", &[]),
    ("hermes-config", &["hermes-wire"]),
    ("hermes-host", &["hermes-wire"]),
    ("hermes-gateway", &["hermes-wire", "hermes-host"]),
    ("hermes-cli", &["hermes-wire", "hermes-config", "hermes-host", "hermes-gateway", "hermes-worker"]),
    ("hermes-worker", &["hermes-wire", "hermes-config", "hermes-host"]),
    ("hermes-tests", &["hermes-wire", "hermes-config"]),
];

/// The harness; tests of any crate may use it.
const HARNESS: &str = "hermes-tests";

/// Names and folders of the workspace's members.
pub(crate) fn members(repository: &Path) -> Vec<(String, PathBuf)> {
    let workspace = fs_err::read_to_string(repository.join("Cargo.toml")).unwrap();
    let list = workspace.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let folders = list
        .trim_end_matches(']')
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty());
    let named = |folder: &str| {
        let folder = repository.join(folder);
        let manifest = fs_err::read_to_string(folder.join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
        (name.trim_matches('"').to_owned(), folder)
    };
    folders.map(named).collect()
}

/// Every dependency that no line allows.
pub(crate) fn check(repository: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, folder) in members(repository) {
        let manifest = fs_err::read_to_string(folder.join("Cargo.toml")).unwrap();
        problems.extend(judge(&name, &manifest, ALLOWED));
    }
    problems
}

fn judge(name: &str, manifest: &str, allowed: &[(&str, &[&str])]) -> Vec<String> {
    let Some((_, allowed)) = allowed.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name}: no line says what it may depend on")];
    };
    let wrong = |(section, dependency): &(String, String)| {
        !(allowed.contains(&dependency.as_str()) || section == "dev-dependencies" && dependency == HARNESS)
    };
    let found = ours(manifest).into_iter().filter(wrong);
    found
        .map(|(section, dependency)| format!("{name} must not have {dependency} among its {section}"))
        .collect()
}

/// Section and name of every dependency on a crate of ours, however it is written.
fn ours(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            let head = head.trim_matches(['[', ']']);
            // `[dependencies.hermes-x]`, `[target.'cfg(unix)'.dependencies]`
            let (above, last) = head.rsplit_once('.').unwrap_or(("", head));
            if last.starts_with("hermes-") {
                found.push((above.rsplit('.').next().unwrap_or(above).to_owned(), last.to_owned()));
            }
            last.clone_into(&mut section);
        } else if section.ends_with("dependencies") && line.starts_with("hermes-") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.push((section.clone(), line[..end].to_owned()));
        } else if section.ends_with("dependencies")
            && let Some((_, package)) = line.split_once("package = \"hermes-")
        {
            let end = package.find('"').unwrap_or(package.len());
            found.push((section.clone(), format!("hermes-{}", &package[..end])));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[(&str, &[&str])] = &[("hermes-a", &["hermes-b"])];

    #[test]
    fn what_is_not_in_the_table_is_refused_however_it_is_written() {
        let said = "hermes-a must not have hermes-c among its dependencies";
        for manifest in [
            "[dependencies]\nhermes-b.workspace = true\nhermes-c.workspace = true",
            "[dependencies]\nhermes-c = { path = \"../c\" }",
            "[dependencies.hermes-c]\npath = \"../c\"",
            "[target.'cfg(unix)'.dependencies]\nhermes-c.workspace = true",
            "[dependencies]\ninnocent = { path = \"../c\", package = \"hermes-c\" }",
        ] {
            assert_eq!(judge("hermes-a", manifest, TABLE), [said], "{manifest}");
        }
        assert_eq!(
            judge("hermes-a", "[build-dependencies]\nhermes-c.workspace = true", TABLE),
            ["hermes-a must not have hermes-c among its build-dependencies"]
        );
    }

    #[test]
    fn tests_may_use_the_harness_and_a_new_crate_needs_a_line() {
        assert_eq!(
            judge("hermes-a", "[dev-dependencies]\nhermes-tests.workspace = true", TABLE),
            Vec::<String>::new()
        );
        assert_eq!(judge("hermes-a", "[dependencies]\nhermes-tests.workspace = true", TABLE).len(), 1);
        assert_eq!(judge("hermes-new", "", TABLE), ["hermes-new: no line says what it may depend on"]);
    }
}
