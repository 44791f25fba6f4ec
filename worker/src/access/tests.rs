//! The rules in their order, one table.

use super::*;

fn list(ids: &[&str]) -> Listed {
    ids.iter().copied().collect()
}

fn from(kind: &str, chat: &str, user: &str) -> Source {
    Source {
        platform: "telegram".into(),
        chat_type: kind.into(),
        chat_id: Some(chat.into()),
        user_id: Some(user.to_owned()).filter(|user| !user.is_empty()),
        ..Source::default()
    }
}

fn judge(settings: &AccessSettings, source: &Source, facts: &Facts) -> Verdict {
    Access::new(settings).judge(source, facts, false)
}

fn person(settings: &AccessSettings, kind: &str, user: &str) -> Verdict {
    judge(settings, &from(kind, "c", user), &Facts::default())
}

/// Whoever set nothing up has let nobody in, and is told how to.
#[test]
fn without_a_word_nobody_may_and_strangers_are_offered_a_code_in_private() {
    let none = AccessSettings::default();
    assert_eq!(person(&none, "dm", "7"), Verdict::Pair);
    for kind in ["group", "channel", "thread", ""] {
        assert_eq!(person(&none, kind, "7"), Verdict::Silent, "{kind}");
    }
    assert_eq!(person(&none, "dm", ""), Verdict::Silent, "nobody could be let in");
    for kind in ["dm", "group"] {
        assert_eq!(
            Access::new(&none).judge(&from(kind, "c", "7"), &Facts::default(), true),
            Verdict::Allowed
        );
    }
    let webhook = Source { chat_type: "webhook".into(), ..Source::default() };
    assert_eq!(judge(&none, &webhook, &Facts::default()), Verdict::Allowed);
}

#[test]
fn ids_count_exactly_and_names_do_not() {
    let settings = AccessSettings { users: list(&["7", "alice", "@ann:example.org"]), ..Default::default() };
    for user in ["7", "alice", "@ann:example.org"] {
        assert_eq!(person(&settings, "dm", user), Verdict::Allowed, "{user}");
        assert_eq!(person(&settings, "group", user), Verdict::Allowed, "{user}");
    }
    for user in ["77", "alice@evil", "ALICE", "ann", "@ann:example.org.evil", "*", " 7"] {
        assert_eq!(person(&settings, "dm", user), Verdict::Silent, "{user}: a list is set, so no code");
    }
    let named = Source { user_name: Some("7".into()), ..from("dm", "c", "8") };
    assert_eq!(judge(&settings, &named, &Facts::default()), Verdict::Silent);
    let alt = Source { user_id_alt: Some("7".into()), ..from("dm", "c", "8") };
    assert_eq!(judge(&settings, &alt, &Facts::default()), Verdict::Allowed);
    let alias = Facts { aliases: vec!["alice".into()], ..Facts::default() };
    assert_eq!(judge(&settings, &from("dm", "c", "8"), &alias), Verdict::Allowed);
    let all = AccessSettings { users: list(&["*"]), ..Default::default() };
    assert_eq!((person(&all, "dm", "8"), person(&all, "dm", "")), (Verdict::Allowed, Verdict::Silent));
}

#[test]
fn groups_have_lists_of_their_own() {
    let settings =
        AccessSettings { group_users: list(&["7"]), group_chats: list(&["-100"]), ..Default::default() };
    assert_eq!(person(&settings, "group", "7"), Verdict::Allowed);
    assert_eq!(
        person(&settings, "dm", "7"),
        Verdict::Silent,
        "a list for groups says nothing of private chats"
    );
    assert_eq!(person(&settings, "group", "8"), Verdict::Silent);
    let anonymous = from("group", "-100", "");
    assert_eq!(judge(&settings, &anonymous, &Facts::default()), Verdict::Allowed);
    let private = from("dm", "-100", "8");
    assert_eq!(judge(&settings, &private, &Facts::default()), Verdict::Silent, "a private chat is no group");
    let any = AccessSettings { group_chats: list(&["*"]), ..Default::default() };
    assert_eq!(person(&any, "channel", ""), Verdict::Allowed);
}

#[test]
fn everybody_is_a_word_that_must_be_said() {
    let everybody = AccessSettings { everybody: true, users: list(&["7"]), ..Default::default() };
    assert_eq!(person(&everybody, "dm", "8"), Verdict::Allowed);
    let anywhere = AccessSettings { everybody_anywhere: true, ..Default::default() };
    assert_eq!(person(&anywhere, "group", "8"), Verdict::Allowed);
    let beside_a_list = AccessSettings { users: list(&["7"]), ..anywhere.clone() };
    assert_eq!(person(&beside_a_list, "dm", "8"), Verdict::Silent, "a list is stronger");
    let open = AccessSettings { dm_policy: Some(Policy::Open), ..Default::default() };
    assert_eq!(person(&open, "dm", "8"), Verdict::Pair, "open alone opens nothing");
    let opted = AccessSettings { dm_policy: Some(Policy::Open), ..beside_a_list };
    assert_eq!(
        (person(&opted, "dm", "8"), person(&opted, "group", "8")),
        (Verdict::Allowed, Verdict::Silent)
    );
    let listed_only = AccessSettings { dm_policy: Some(Policy::Allowlist), ..anywhere };
    assert_eq!(person(&listed_only, "dm", "8"), Verdict::Silent);
}

#[test]
fn what_is_turned_off_is_off_for_all() {
    let off = AccessSettings {
        dm_policy: Some(Policy::Disabled),
        group_policy: Some(Policy::Pairing),
        everybody: true,
        group_chats: list(&["*"]),
        stranger: Some(Stranger::Pair),
        ..Default::default()
    };
    for kind in ["dm", "group"] {
        let facts = Facts { role_authorized: true, ..Facts::default() };
        assert_eq!(Access::new(&off).judge(&from(kind, "c", "7"), &facts, true), Verdict::Silent, "{kind}");
    }
}

/// Two bots that answer each other never stop.
#[test]
fn bots_may_only_where_that_is_said() {
    let bot = Facts { is_bot: true, ..Facts::default() };
    let called = Facts { addressed: true, ..bot.clone() };
    let settings = |bots| AccessSettings { bots, everybody: true, users: list(&["b"]), ..Default::default() };
    let in_group = from("group", "c", "b");
    for (bots, facts, verdict) in [
        (Bots::None, &called, Verdict::Silent),
        (Bots::Mentions, &bot, Verdict::Silent),
        (Bots::Mentions, &called, Verdict::Allowed),
        (Bots::All, &bot, Verdict::Allowed),
    ] {
        assert_eq!(judge(&settings(bots), &in_group, facts), verdict, "{bots:?}");
    }
    assert_eq!(
        judge(&AccessSettings::default(), &from("dm", "c", "b"), &bot),
        Verdict::Silent,
        "and no code"
    );
}

#[test]
fn a_role_that_is_proven_is_enough() {
    let settings = AccessSettings { users: list(&["7"]), ..Default::default() };
    let facts = Facts { role_authorized: true, ..Facts::default() };
    assert_eq!(judge(&settings, &from("group", "c", "8"), &facts), Verdict::Allowed);
}

#[test]
fn what_strangers_hear_is_said_most_exactly_first() {
    let listed = AccessSettings { users: list(&["7"]), ..Default::default() };
    let decline = Stranger::Decline("No.".into());
    for (stranger, policy, verdict) in [
        (None, None, Verdict::Silent),
        (None, Some(Policy::Pairing), Verdict::Pair),
        (None, Some(Policy::Allowlist), Verdict::Silent),
        (Some(Stranger::Pair), Some(Policy::Allowlist), Verdict::Pair),
        (Some(Stranger::Ignore), Some(Policy::Pairing), Verdict::Silent),
        (Some(decline), None, Verdict::Decline("No.".into())),
    ] {
        let settings = AccessSettings { stranger: stranger.clone(), dm_policy: policy, ..listed.clone() };
        assert_eq!(person(&settings, "dm", "8"), verdict, "{stranger:?} {policy:?}");
        assert_eq!(person(&settings, "group", "8"), Verdict::Silent);
    }
}
