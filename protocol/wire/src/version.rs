//! Message versions and their negotiation, a pure function.

/// A message version.
pub type Version = u16;

/// Oldest and newest version this build speaks: N-1 and N.
pub const SUPPORTED: std::ops::RangeInclusive<Version> = 2..=3;

/// The version used between equals.
pub const NEWEST: Version = *SUPPORTED.end();

/// The newest version both ranges contain.
pub fn negotiate(
    ours: &std::ops::RangeInclusive<Version>,
    theirs: &std::ops::RangeInclusive<Version>,
) -> Option<Version> {
    let newest = *ours.end().min(theirs.end());
    (ours.contains(&newest) && theirs.contains(&newest)).then_some(newest)
}

/// What `hermes gateway check --proof` prints, and nothing else: this program is a gateway that takes listeners over. No other
/// program says so by accident, nor by repeating its arguments.
pub const PROOF: &str = "hermes-gateway takes over listeners (1)";

/// What `hermes gateway check --succession` prints: this program goes on with the workers of a gateway that becomes it, as the document
/// of that version describes them.
pub const SUCCESSION: &str = "hermes-gateway goes on with workers (1)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_wins() {
        assert_eq!(negotiate(&(1..=2), &(2..=3)), Some(2));
        assert_eq!(negotiate(&(2..=3), &(1..=2)), Some(2));
        assert_eq!(negotiate(&(1..=1), &(1..=1)), Some(1));
        assert_eq!(negotiate(&(1..=1), &(2..=3)), None);
        assert_eq!(negotiate(&(3..=4), &(1..=2)), None);
    }
}
