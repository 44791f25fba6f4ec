//! What a sync does with one skill: a pure function of what the manifest says, what is there, and what is bundled.

use super::tree::Tree;

/// What the manifest says about a skill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded<'a> {
    /// It was never brought.
    Never,
    /// It was brought, by a program that wrote down no usable hash.
    Unknown,
    /// It was brought with these contents.
    Hash(&'a str),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bring it.
    Install,
    /// Put the bundled one in place of the unchanged older one.
    Replace,
    /// Only write down that it is there.
    Adopt,
    /// Nothing.
    Leave(Why),
}

/// Why nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is there as it should be.
    UpToDate,
    /// The user changed it.
    Modified,
    /// The user has one of that name that was never ours.
    Yours,
    /// The user removed or moved it.
    Removed,
    /// `.curator_suppressed` names it.
    Suppressed,
}

/// Decides. `elsewhere`: a skill of that name is in another place of the home.
pub(crate) fn decide(
    suppressed: bool,
    recorded: Recorded<'_>,
    there: &Tree,
    elsewhere: bool,
    bundled: &str,
) -> Action {
    match (recorded, there) {
        _ if suppressed => Action::Leave(Why::Suppressed),
        (Recorded::Hash(hash), there) if there.is(bundled) && hash == bundled => Action::Leave(Why::UpToDate),
        (_, there) if there.is(bundled) => Action::Adopt,
        (Recorded::Never, Tree::Absent) if !elsewhere => Action::Install,
        (Recorded::Never, _) => Action::Leave(Why::Yours),
        (_, Tree::Absent) => Action::Leave(Why::Removed),
        (Recorded::Hash(hash), there) if there.is(hash) => Action::Replace,
        (Recorded::Unknown | Recorded::Hash(_), _) => Action::Leave(Why::Modified),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_rule() {
        use Action::{Adopt, Install, Leave, Replace};
        let files = |hash: &str| Tree::Files(hash.to_owned());
        for (recorded, there, elsewhere, action) in [
            (Recorded::Never, Tree::Absent, false, Install),
            (Recorded::Never, Tree::Absent, true, Leave(Why::Yours)),
            (Recorded::Never, files("x"), false, Leave(Why::Yours)),
            (Recorded::Never, Tree::Other, false, Leave(Why::Yours)),
            (Recorded::Never, files("new"), false, Adopt),
            (Recorded::Unknown, files("new"), false, Adopt),
            (Recorded::Unknown, files("x"), false, Leave(Why::Modified)),
            (Recorded::Unknown, Tree::Absent, false, Leave(Why::Removed)),
            (Recorded::Hash("new"), files("new"), false, Leave(Why::UpToDate)),
            (Recorded::Hash("old"), files("new"), false, Adopt),
            (Recorded::Hash("old"), files("old"), false, Replace),
            (Recorded::Hash("old"), files("x"), false, Leave(Why::Modified)),
            (Recorded::Hash("new"), files("x"), false, Leave(Why::Modified)),
            (Recorded::Hash("old"), Tree::Other, false, Leave(Why::Modified)),
            (Recorded::Hash("old"), Tree::Absent, false, Leave(Why::Removed)),
            (Recorded::Hash("new"), Tree::Absent, false, Leave(Why::Removed)),
            (Recorded::Hash("old"), Tree::Absent, true, Leave(Why::Removed)),
        ] {
            assert_eq!(decide(false, recorded, &there, elsewhere, "new"), action, "{recorded:?} {there:?}");
            assert_eq!(decide(true, recorded, &there, elsewhere, "new"), Leave(Why::Suppressed));
        }
    }

    fn hashes() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c]", "[0-9a-f]{32}"]
    }

    proptest! {
        /// Only what is byte for byte what was brought is ever replaced.
        #[test]
        fn a_changed_skill_is_never_replaced(
            recorded in prop::option::of(prop::option::of(hashes())),
            there in prop_oneof![Just(Tree::Absent), Just(Tree::Other), hashes().prop_map(Tree::Files)],
            elsewhere: bool,
            bundled in hashes(),
        ) {
            let before = match &recorded {
                None => Recorded::Never,
                Some(None) => Recorded::Unknown,
                Some(Some(hash)) => Recorded::Hash(hash),
            };
            match decide(false, before, &there, elsewhere, &bundled) {
                Action::Replace => {
                    prop_assert_eq!(there, Tree::Files(recorded.flatten().unwrap()));
                }
                Action::Install => prop_assert!(there == Tree::Absent && recorded.is_none() && !elsewhere),
                Action::Adopt => prop_assert_eq!(there, Tree::Files(bundled)),
                Action::Leave(_) => {}
            }
        }
    }
}
