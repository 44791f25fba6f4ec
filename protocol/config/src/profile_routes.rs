//! `profile_routes`: which profile answers what comes in through the default profile's bots.
//!
//! A rule names a platform, a profile and, if it likes, a server (`guild_id`), a chat, a thread and a person. It applies where all
//! that it names is so; of the rules that apply the one that names the most telling things wins, and of equals the first in the
//! file. [`ProfileRoutes::target`] decides, and is pure: the same event and the same rules give the same profile.
//!
//! An entry that is not a rule is left out and named; it never becomes a rule that says less. A rule for a profile that is not
//! served stays a rule: what it applies to is refused, and never answered by the default profile in its place.

use hermes_wire::ProfileName;
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::session_key::canonical_whatsapp;

/// What each thing that a rule names counts for: a person more than all the rest, a thread more than its chat, a chat more than
/// its server (0.21.4).
const WEIGHTS: [u32; 4] = [16, 8, 4, 2];

/// `code` of what is said about rules whose profile is not served.
const UNSERVED: &str = "profile_route_unserved";

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRoute {
    /// For people: `name`, or where it stands in the file.
    pub name: String,
    /// The platform, as written.
    pub platform: String,
    /// Who answers.
    pub profile: ProfileName,
    /// `user_id`
    pub user_id: Option<String>,
    /// `thread_id`
    pub thread_id: Option<String>,
    /// `chat_id`: also of a thread's or a post's parent.
    pub chat_id: Option<String>,
    /// `guild_id`: a server, a team, a space.
    pub guild_id: Option<String>,
    /// File, key, line and column of its `profile`.
    pub(super) place: (String, Option<String>, Option<u32>, Option<u32>),
}

/// Where a message came from, as far as rules ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// The platform.
    pub platform: &'a str,
    /// Server, team or space.
    pub guild_id: Option<&'a str>,
    /// Chat.
    pub chat_id: Option<&'a str>,
    /// The chat that a thread or a post belongs to.
    pub parent_chat_id: Option<&'a str>,
    /// Thread in the chat.
    pub thread_id: Option<&'a str>,
    /// Sender.
    pub user_id: Option<&'a str>,
    /// Sender's second id.
    pub user_id_alt: Option<&'a str>,
}

/// The rules, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileRoutes(Vec<ProfileRoute>);

impl ProfileRoute {
    /// What the rule counts for `arrival`; `None`: it does not apply.
    fn weight(&self, arrival: &Arrival<'_>) -> Option<u32> {
        if self.platform != arrival.platform {
            return None;
        }
        let whatsapp = self.platform.starts_with("whatsapp");
        let alike = |wanted: &str, given: &str| {
            wanted == given || (whatsapp && canonical_whatsapp(wanted) == canonical_whatsapp(given))
        };
        let exactly = |wanted: &str, given: &str| wanted == given;
        let parts = [
            (&self.user_id, [arrival.user_id, arrival.user_id_alt], &alike as &dyn Fn(&str, &str) -> bool),
            (&self.thread_id, [arrival.thread_id, None], &exactly),
            (&self.chat_id, [arrival.chat_id, arrival.parent_chat_id], &alike),
            (&self.guild_id, [arrival.guild_id, None], &exactly),
        ];
        let mut weight = 0;
        for ((wanted, given, is), counts) in parts.into_iter().zip(WEIGHTS) {
            let Some(wanted) = wanted else { continue };
            if !given.into_iter().flatten().any(|given| is(wanted, given)) {
                return None;
            }
            weight += counts;
        }
        Some(weight)
    }
}

impl ProfileRoutes {
    /// The rule that decides who answers `arrival`; `None`: nobody but the profile whose bot it came to.
    pub fn target(&self, arrival: &Arrival<'_>) -> Option<&ProfileRoute> {
        let mut best: Option<(u32, &ProfileRoute)> = None;
        for route in &self.0 {
            if let Some(weight) = route.weight(arrival)
                && best.is_none_or(|(most, _)| weight > most)
            {
                best = Some((weight, route));
            }
        }
        best.map(|(_, route)| route)
    }

    /// Platform and profile of every rule that leads to another profile than `default`, each pair once, sorted.
    pub fn hand_overs(&self) -> Vec<(&str, &ProfileName)> {
        let others = self.0.iter().filter(|route| !route.profile.is_default());
        let mut pairs: Vec<_> = others.map(|route| (route.platform.as_str(), &route.profile)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules whose profile `served` does not know, each with what there is to say. `served` answers why a profile is not.
    pub fn unserved(&self, served: impl Fn(&ProfileName) -> Result<(), String>) -> Vec<Problem> {
        let of = |route: &ProfileRoute| {
            let why = served(&route.profile).err()?;
            let (file, key, line, column) = route.place.clone();
            let message = format!(
                "profile route {} leads to '{}', which is not served ({why}): what it applies to is refused",
                route.name, route.profile
            );
            let fix = format!(
                "Create the profile with `hermes profile create {}`, or remove the rule.",
                route.profile
            );
            let (severity, code, platform) =
                (Severity::Warning, UNSERVED.to_owned(), Some(route.platform.clone()));
            Some(Problem { severity, code, platform, file, line, column, key, message, fix: Some(fix) })
        };
        self.0.iter().filter(|route| !route.profile.is_default()).filter_map(of).collect()
    }
}

impl FromIterator<ProfileRoute> for ProfileRoutes {
    fn from_iter<I: IntoIterator<Item = ProfileRoute>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
