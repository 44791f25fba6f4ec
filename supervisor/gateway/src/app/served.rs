//! Which of the profiles on disk are served. Pure: the listing comes from [`crate::watch`].

use std::collections::BTreeSet;

use camino::Utf8Path;
use hermes_wire::ProfileName;
use hermes_wire::latest::{Problem, Severity};

use crate::watch::{Homes, Odd, Unseen};

/// The served profiles, `default` first, then bytewise by name; and what is odd about the rest.
///
/// Without an allow-list all are served; with one, `default` and what it names.
pub(crate) fn served(
    homes: &Homes,
    allowlist: Option<&[String]>,
    config: &str,
) -> (Vec<ProfileName>, Vec<Problem>) {
    let mut problems = unseen(homes, None);
    problems.extend(homes.odd.iter().map(not_served));
    let Some(allowlist) = allowlist else { return (homes.names().cloned().collect(), problems) };
    let mut allowed = BTreeSet::new();
    for entry in allowlist {
        match ProfileName::from_user_input(entry) {
            Ok(name) if homes.contains(&name) => {
                allowed.insert(name);
            }
            Ok(name) => problems.push(unknown_entry(config, &format!("'{name}' is not a profile here"))),
            Err(error) => problems.push(unknown_entry(config, &error.to_string())),
        }
    }
    let names = homes.names().filter(|name| name.is_default() || allowed.contains(name)).cloned().collect();
    (names, problems)
}

/// What could not be looked at: of everybody, or of `only` that profile.
pub fn unseen(homes: &Homes, only: Option<&ProfileName>) -> Vec<Problem> {
    let concerned = homes.unseen.iter().filter(|unseen| only.is_none() || unseen.profile.as_ref() == only);
    concerned
        .map(|Unseen { profile, path, why }| {
            let holds = match profile {
                None => "the profiles that were known go on, others are not seen".to_owned(),
                Some(name) if homes.contains(name) => format!("what was known of profile '{name}' holds"),
                Some(name) => format!("profile '{name}' is not served"),
            };
            let what =
                if profile.is_none() { "The profiles cannot be listed" } else { "This cannot be looked at" };
            Problem {
                severity: Severity::Profile,
                code: "unseen".to_owned(),
                platform: None,
                file: path.to_string(),
                line: None,
                column: None,
                key: None,
                message: format!("{what} ({why}): {holds}"),
                fix: Some("remove the cause; it is tried again by itself until it works".to_owned()),
            }
        })
        .collect()
}

/// Whether an allow-list lets a profile be served beside `default`.
pub(crate) fn allowed(allowlist: Option<&[String]>, name: &ProfileName) -> bool {
    allowlist.is_none_or(|list| {
        list.iter().any(|entry| ProfileName::from_user_input(entry).is_ok_and(|entry| entry == *name))
    })
}

/// The default profile's home says that it is parked, which means nothing.
pub(crate) fn parked_default(marker: &Utf8Path) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: "parked_default".to_owned(),
        platform: None,
        file: marker.to_string(),
        line: None,
        column: None,
        key: None,
        message: "The default profile cannot be parked: the marker in its home is ignored".to_owned(),
        fix: Some("remove the file; `hermes gateway stop` stops the gateway instead".to_owned()),
    }
}

fn not_served(odd: &Odd) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: "not_served".to_owned(),
        platform: None,
        file: odd.path.to_string(),
        line: None,
        column: None,
        key: None,
        message: format!("This directory is not served: {}", odd.why),
        fix: Some(odd.fix.to_owned()),
    }
}

fn unknown_entry(config: &str, why: &str) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: "allowlist".to_owned(),
        platform: None,
        file: config.to_owned(),
        line: None,
        column: None,
        key: Some("gateway.multiplex_profile_allowlist".to_owned()),
        message: format!("An entry of the allow-list is ignored: {why}"),
        fix: Some("create the profile or remove the entry".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use hermes_wire::RootHome;

    use super::*;
    use crate::watch;

    fn names(served: &[ProfileName]) -> Vec<&str> {
        served.iter().map(ProfileName::as_str).collect()
    }

    #[test]
    fn order_and_allow_list() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        for name in ["zeta", "1x", "a_b", "a-b", "UPPER", "main"] {
            let home = root.join("profiles").join(name);
            fs_err::create_dir_all(&home).unwrap();
            fs_err::write(home.join("config.yaml"), "").unwrap();
        }
        fs_err::create_dir_all(root.join("profiles/bare")).unwrap();
        let homes = watch::scan(&RootHome::new(root));
        let (all, problems) = served(&homes, None, "c");
        assert_eq!(names(&all), ["default", "1x", "a-b", "a_b", "zeta"], "default first, then bytewise");
        assert_eq!(problems.len(), 2, "UPPER and main are said, a bare directory is no news: {problems:?}");

        assert_eq!(names(&served(&homes, Some(&[]), "c").0), ["default"]);
        let list = [" Zeta", "zeta", "nope", "a b"].map(str::to_owned);
        let (some, problems) = served(&homes, Some(&list), "c");
        assert_eq!(names(&some), ["default", "zeta"]);
        assert_eq!(problems.len(), 4);
    }
}
