//! Which groups of tools are offered to whom. Pure.
//!
//! `agent.disabled_toolsets` are never; `platform_toolsets.<platform>` is the whole list for that platform, else `toolsets` for all. A
//! webhook is offered only what can do no harm unless a list of its own says more: anybody may have written what it brings. A client of
//! the API cannot be asked anything in the middle of a turn. Names in lists stand for what they stand for in 0.19.0 ([`means`]); one that
//! nobody knows stands for itself, and so for nothing.

use hermes_config::Toolsets;

/// The group of the tool for trials, which whoever turns it on wants everywhere.
pub(super) const TRIAL: &str = "trial";

/// The group whose tool keeps things for later sessions.
pub(super) const MEMORY: &str = "memory";

/// The group of the tools that read skills.
pub(super) const SKILLS: &str = "skills";

/// The group whose tool searches earlier sessions.
pub(super) const SESSION_SEARCH: &str = "session_search";

/// The group of the list of what is to be done.
pub(super) const TODO: &str = "todo";

/// The group of the tools that run commands.
pub(super) const TERMINAL: &str = "terminal";

/// The group whose tool asks whoever talks to the profile.
pub(super) const CLARIFY: &str = "clarify";

/// The group whose tool has children do pieces of the work.
pub(super) const DELEGATION: &str = "delegation";

/// The group of the tools that read pages of the web.
pub(super) const WEB: &str = "web";

/// The group whose tool writes to other chats. In 0.19.0 no other name stands for it: it is named, or it is off.
pub(super) const MESSAGING: &str = "messaging";

/// What a webhook is offered, as in 0.19.0.
pub(super) const UNTRUSTED: [&str; 2] = [CLARIFY, "vision"];

/// What a name in a list stands for.
enum Meaning {
    /// Every group but these.
    AllBut(&'static [&'static str]),
    /// These.
    These(&'static [&'static str]),
    /// The group of that name.
    Itself,
}

/// What a name stands for: the bundles of 0.19.0, and the names that groups had before.
fn means(name: &str) -> Meaning {
    use Meaning::{AllBut, Itself, These};
    const CODING: &[&str] = &[
        WEB,
        "terminal",
        "file",
        "vision",
        SKILLS,
        "browser",
        TODO,
        MEMORY,
        SESSION_SEARCH,
        CLARIFY,
        "code_execution",
        DELEGATION,
    ];
    match name {
        "all" | "*" => AllBut(&[]),
        "hermes-webhook" => These(&[WEB, "vision", CLARIFY]),
        "hermes-api-server" => AllBut(&[MESSAGING, CLARIFY, "tts"]),
        "hermes-acp" | "coding" => These(CODING),
        "debugging" => These(&["terminal", WEB, "file"]),
        "safe" => These(&[WEB, "vision", "image_gen"]),
        "web_tools" => These(&[WEB]),
        "terminal_tools" => These(&["terminal"]),
        "vision_tools" => These(&["vision"]),
        "image_tools" => These(&["image_gen"]),
        "skills_tools" => These(&[SKILLS]),
        "browser_tools" => These(&["browser"]),
        "cronjob_tools" => These(&["cronjob"]),
        "file_tools" => These(&["file"]),
        "tts_tools" => These(&["tts"]),
        name if name.starts_with("hermes-") => AllBut(&[MESSAGING]),
        _ => Itself,
    }
}

/// Whether a name in a list stands for a group.
pub(super) fn holds(name: &str, toolset: &str) -> bool {
    match means(name) {
        Meaning::AllBut(none) => !none.contains(&toolset),
        Meaning::These(these) => these.contains(&toolset),
        Meaning::Itself => name == toolset,
    }
}

/// Whether a name stands for several groups.
pub(super) fn is_bundle(name: &str) -> bool {
    !matches!(means(name), Meaning::Itself)
}

/// Whether a name in `agent.disabled_toolsets` takes a group away. One that stands for all takes nothing away, as in 0.19.0.
pub(super) fn takes_away(name: &str, toolset: &str) -> bool {
    !matches!(means(name), Meaning::AllBut(_)) && holds(name, toolset)
}

/// Why a group is not offered; for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    /// It is among those that never are.
    #[error("agent.disabled_toolsets names it")]
    Disabled,
    /// A list says which are.
    #[error("{0} does not name it")]
    NotListed(String),
    /// Anybody may have written what comes.
    #[error("anybody may write to a webhook: only platform_toolsets.webhook opens it")]
    Untrusted,
    /// Nobody can be asked.
    #[error("a client of the API cannot be asked")]
    Mute,
    /// It is off until it is named.
    #[error("off until toolsets names it")]
    Unnamed,
}

/// Whether tools of `toolset` are offered to whoever comes by `platform`.
pub(super) fn judge(choice: &Toolsets, toolset: &str, platform: &str) -> Result<(), NotOffered> {
    if toolset == TRIAL {
        return Ok(());
    }
    if choice.disabled.iter().any(|name| takes_away(name, toolset)) {
        return Err(NotOffered::Disabled);
    }
    if platform == "api_server" && toolset == CLARIFY {
        return Err(NotOffered::Mute);
    }
    let is_in = |list: &[String]| list.iter().any(|name| holds(name, toolset));
    if let Some(list) = choice.platforms.get(platform) {
        let key = || NotOffered::NotListed(format!("platform_toolsets.{platform}"));
        return is_in(list).then_some(()).ok_or_else(key);
    }
    if platform == "webhook" {
        return UNTRUSTED.contains(&toolset).then_some(()).ok_or(NotOffered::Untrusted);
    }
    match &choice.everywhere {
        Some(list) if is_in(list) => Ok(()),
        _ if toolset == MESSAGING => Err(NotOffered::Unnamed),
        Some(_) => Err(NotOffered::NotListed("toolsets".to_owned())),
        None => Ok(()),
    }
}

/// [`judge`], for who needs no reason.
pub(super) fn offers(choice: &Toolsets, toolset: &str, platform: &str) -> bool {
    judge(choice, toolset, platform).is_ok()
}

/// The same for a tool server's, which is called as somebody liked: it gains nothing by its name.
pub(super) fn offers_foreign(choice: &Toolsets, toolset: &str, platform: &str) -> bool {
    judge_foreign(choice, toolset, platform).is_ok()
}

/// The same, with the reason.
pub(super) fn judge_foreign(choice: &Toolsets, toolset: &str, platform: &str) -> Result<(), NotOffered> {
    if choice.disabled.iter().any(|name| name == toolset) {
        return Err(NotOffered::Disabled);
    }
    let of_platform = choice.platforms.get(platform);
    if platform == "webhook" && of_platform.is_none() {
        return Err(NotOffered::Untrusted);
    }
    let holds = |name: &String| match means(name) {
        Meaning::AllBut(_) => true,
        Meaning::These(_) => false,
        Meaning::Itself => name == toolset,
    };
    let key = of_platform.map_or_else(|| "toolsets".to_owned(), |_| format!("platform_toolsets.{platform}"));
    let list = of_platform.or(choice.everywhere.as_ref());
    if list.is_none_or(|list| list.iter().any(holds)) { Ok(()) } else { Err(NotOffered::NotListed(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_again() -> Toolsets {
        Toolsets::default()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_is_offered_what() {
        let plain = Toolsets::default();
        for (toolset, platform, offered) in [
            ("file", "telegram", true),
            ("file", "api_server", true),
            ("clarify", "api_server", false),
            ("file", "webhook", false),
            ("web", "webhook", false),
            ("clarify", "webhook", true),
            (TRIAL, "webhook", true),
            (MESSAGING, "telegram", false),
        ] {
            assert_eq!(offers(&plain, toolset, platform), offered, "{toolset} {platform}");
        }
        let mut some = Toolsets { everywhere: Some(list(&["memory", "made-up"])), ..plain };
        assert!(offers(&some, "memory", "telegram") && !offers(&some, "file", "telegram"));
        some.platforms.insert("webhook".to_owned(), list(&["hermes-cli"]));
        some.platforms.insert("cli".to_owned(), list(&[]));
        assert!(offers(&some, "file", "webhook") && !offers(&some, "memory", "cli"));
        // A server gains nothing by its name.
        for name in ["clarify", "vision", TRIAL, "github"] {
            assert!(!offers_foreign(&plain_again(), name, "webhook"), "{name}");
        }
        assert!(offers_foreign(&plain_again(), "github", "telegram"));
        assert!(offers_foreign(&some, "github", "webhook") && !offers_foreign(&some, "github", "cli"));
        some.disabled = list(&["file"]);
        assert!(!offers(&some, "file", "webhook"));
    }

    /// Names of 0.19.0's lists stand for what they stand for there.
    #[test]
    fn old_names_mean_what_they_meant() {
        for (name, on, off) in [
            ("hermes-cli", &["file", "web", "delegation", "clarify", "terminal"][..], &[MESSAGING][..]),
            ("hermes-telegram", &["memory", "todo"], &[MESSAGING]),
            ("hermes-webhook", &["web", "clarify", "vision"], &["file", "terminal", "memory", MESSAGING]),
            ("hermes-api-server", &["file", "web", "delegation"], &["clarify", MESSAGING]),
            ("hermes-acp", &["file", "web", "delegation"], &["cronjob", MESSAGING]),
            ("coding", &["file", "skills"], &["image_gen"]),
            ("debugging", &["file", "web", "terminal"], &["memory"]),
            ("safe", &["web", "vision"], &["file", "terminal"]),
            ("file_tools", &["file"], &["terminal"]),
            ("all", &["file", MESSAGING], &[]),
            ("messaging", &[MESSAGING], &["file"]),
            ("search", &[], &["web"]),
        ] {
            let choice = Toolsets { everywhere: Some(list(&[name])), ..Toolsets::default() };
            assert!(on.iter().all(|toolset| offers(&choice, toolset, "telegram")), "{name}");
            assert!(!off.iter().any(|toolset| offers(&choice, toolset, "telegram")), "{name}");
        }
        let without = |name: &str| Toolsets { disabled: list(&[name]), ..Toolsets::default() };
        assert!(!offers(&without("safe"), "web", "cli") && offers(&without("hermes-cli"), "web", "cli"));
    }
}
