//! What the service of a gateway is called.
//!
//! The gateway of `~/.hermes` has the name that guides and scripts know, `hermes-gateway`, and a profile that has one of its own
//! `hermes-gateway-coder`. That of any other root home has a part of the home's hash in it, behind a dot, which no profile's name has: no
//! two homes share a name, whatever their profiles are called.

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use super::{Manager, Owner, Scope};
use crate::home::{self, Surroundings};

/// How the labels of launch agents begin.
pub(crate) const LABEL: &str = "ai.hermes.gateway";

/// How the names of a manager's files begin and end.
fn frame(manager: Manager) -> (&'static str, &'static str) {
    match manager {
        Manager::Systemd(_) => ("hermes-gateway", ".service"),
        Manager::Launchd => (LABEL, ".plist"),
    }
}

/// The name of its unit of systemd where nobody else has it.
pub(crate) fn preferred(owner: &Owner, env: &Surroundings) -> String {
    preferred_by(Manager::Systemd(Scope::User), owner, env)
}

/// Every name that its unit of systemd may have.
pub(crate) fn all(owner: &Owner, env: &Surroundings) -> [String; 2] {
    all_by(Manager::Systemd(Scope::User), owner, env)
}

/// The name of its file with a manager where nobody else has it.
pub(crate) fn preferred_by(manager: Manager, owner: &Owner, env: &Surroundings) -> String {
    if is_usual(owner.root.path(), env) { plain(manager, owner) } else { hashed(manager, owner) }
}

/// Every name that its file may have: of `~/.hermes` the plain one first, of another home its own, and then what 0.19.0 gave it.
pub(crate) fn all_by(manager: Manager, owner: &Owner, env: &Surroundings) -> [String; 2] {
    let (plain, hashed) = (plain(manager, owner), hashed(manager, owner));
    if is_usual(owner.root.path(), env) { [plain, hashed] } else { [hashed, plain] }
}

/// Whether a unit of that name is, by its name, a gateway's.
pub(crate) fn is_gateways(manager: Manager, name: &str) -> bool {
    let (stem, ending) = frame(manager);
    let rest = name.strip_suffix(ending).and_then(|name| name.strip_prefix(stem));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

fn is_usual(root: &Utf8Path, env: &Surroundings) -> bool {
    home::usual(env).is_some_and(|usual| usual == root) || env.sudo_root.as_deref() == Some(root)
}

fn plain(manager: Manager, owner: &Owner) -> String {
    let (stem, ending) = frame(manager);
    format!("{stem}{}{ending}", suffix(owner))
}

fn hashed(manager: Manager, owner: &Owner) -> String {
    use std::fmt::Write as _;
    let mut hash = String::new();
    for byte in &Sha256::digest(owner.root.path().as_str().as_bytes())[..4] {
        let _ = write!(hash, "{byte:02x}");
    }
    let (stem, ending) = frame(manager);
    format!("{stem}.{hash}{}{ending}", suffix(owner))
}

fn suffix(owner: &Owner) -> String {
    if owner.profile.is_default() { String::new() } else { format!("-{}", owner.profile) }
}

#[cfg(test)]
mod tests {
    use hermes_wire::RootHome;

    use super::*;

    fn owner(root: &str, profile: &str) -> Owner {
        Owner { root: RootHome::new(root), profile: profile.parse().unwrap() }
    }

    const UNIT: Manager = Manager::Systemd(Scope::User);

    #[test]
    fn n5_5_agents_have_labels_of_their_own() {
        let env = Surroundings { user_home: Some("/nowhere/ada".into()), ..Surroundings::bare() };
        let name = |root: &str, profile: &str| preferred_by(Manager::Launchd, &owner(root, profile), &env);
        assert_eq!(name("/nowhere/ada/.hermes", "default"), "ai.hermes.gateway.plist");
        assert_eq!(name("/nowhere/ada/.hermes", "coder"), "ai.hermes.gateway-coder.plist");
        let other = name("/srv/h", "coder");
        assert!(is_gateways(Manager::Launchd, &other) && other.ends_with("-coder.plist"), "{other}");
        assert!(!is_gateways(Manager::Launchd, "ai.hermes.gateways.plist"));
    }

    /// N5.1: a home that is not the usual one has a name of its own, which no profile's gateway can have.
    #[test]
    fn n5_1_no_two_homes_share_a_name() {
        let env = Surroundings { user_home: Some("/nowhere/ada".into()), ..Surroundings::bare() };
        let name = |root: &str, profile: &str| preferred(&owner(root, profile), &env);
        assert_eq!(name("/nowhere/ada/.hermes", "default"), "hermes-gateway.service");
        assert_eq!(name("/nowhere/ada/.hermes", "coder"), "hermes-gateway-coder.service");
        let other = name("/srv/h", "default");
        let hash = other.strip_prefix("hermes-gateway.").unwrap().strip_suffix(".service").unwrap();
        assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{other}");
        assert_eq!(name("/srv/h", "coder"), format!("hermes-gateway.{hash}-coder.service"));
        assert_ne!(name("/srv/i", "default"), other);
        assert_ne!(name("/nowhere/ada/.hermes", hash), other, "a profile that is called like the hash");
        for name in [&other, "hermes-gateway.service", "hermes-gateway-coder.service"] {
            assert!(is_gateways(UNIT, name), "{name}");
        }
        for no in
            ["hermes-gateways.service", "hermes-gateway.socket", "hermes.service", "x-hermes-gateway.service"]
        {
            assert!(!is_gateways(UNIT, no), "{no}");
        }
    }
}
