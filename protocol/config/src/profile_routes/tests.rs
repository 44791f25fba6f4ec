//! Entries become rules or are named; rules decide the same for everybody.

use super::super::judge::{Case, Files, Found, judge};
use super::super::routing::CODE;
use super::super::{Input, Loaded, load};
use super::*;
use hermes_wire::ProfileHome;
use hermes_wire::latest::Role;
use proptest::prelude::*;

fn loaded(yaml: &str) -> Loaded {
    let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
    let (role, yaml) = (Role::Primary, Some(yaml.as_bytes()));
    load(Input {
        registry: &crate::REGISTRY,
        profile: &profile,
        role,
        multiplex: None,
        listeners: &[],
        home: &home,
        yaml,
        env: None,
    })
}

fn routes(rules: &str) -> (ProfileRoutes, Vec<String>) {
    let loaded =
        loaded(&format!("agent: {{engine: echo}}\nmultiplex_profiles: true\nprofile_routes:\n{rules}"));
    let said = loaded.problems.iter().filter(|problem| problem.code == CODE).map(|p| p.message.clone());
    (loaded.config.unwrap().profile_routes, said.collect())
}

fn telegram<'a>(chat: &'a str, user: &'a str) -> Arrival<'a> {
    Arrival { platform: "telegram", chat_id: Some(chat), user_id: Some(user), ..Arrival::default() }
}

fn answers(routes: &ProfileRoutes, arrival: &Arrival<'_>) -> String {
    routes.target(arrival).map_or("-", |route| route.profile.as_str()).to_owned()
}

#[test]
fn numbers_are_ids_and_words_are_switches() {
    let (routes, said) = routes(
        "- {platform: telegram, profile: ' Coder ', chat_id: -1001234567890123}\n\
         - {platform: telegram, profile: ops, user_id: 7, enabled: \"false\"}\n\
         - {platform: telegram, profile: ops, chat_id: '8', enabled: 'yes'}\n",
    );
    assert_eq!(said, [""; 0]);
    assert_eq!(answers(&routes, &telegram("-1001234567890123", "7")), "coder");
    assert_eq!(answers(&routes, &telegram("8", "7")), "ops");
    assert_eq!(answers(&routes, &telegram("9", "7")), "-");
    assert_eq!(answers(&routes, &Arrival { platform: "Telegram", ..telegram("8", "7") }), "-");
}

#[test]
fn every_entry_that_is_no_rule_is_named() {
    let (routes, said) = routes(
        "- just text\n\
         - {name: a, profile: coder}\n\
         - {name: b, platform: telegram}\n\
         - {name: c, platform: telegram, profile: 'no such name'}\n\
         - {name: d, platform: telegram, profile: coder, user_id: }\n\
         - {name: e, platform: telegram, profile: coder, user_id: '  '}\n\
         - {name: f, platform: telegram, profile: coder, chat_id: [1, 2]}\n\
         - {name: g, platform: telegram, profile: coder, bot_profile: ops}\n\
         - {name: h, platform: telegram, profile: coder, bot_profile: Default, guild_id: ''}\n\
         - {name: i, platform: telegram, profile: coder, bot_profile: , chat_id: 1}\n\
         - {name: j, platform: telegram, profile: coder, bot_profile: ' Coder'}\n\
         - {name: k, platform: telegram, profile: coder, bot_profile: '  ', chat_id: 2}\n\
         - {name: l, platform: telegram, profile: coder, user_id: ~, chat_id: 3}\n",
    );
    assert_eq!(
        said,
        [
            "Skipping profile route profile_routes[0]: not a mapping of keys to values",
            "Skipping profile route a: missing platform or profile",
            "Skipping profile route b: missing platform or profile",
            "Skipping profile route c: invalid profile name 'no such name'",
            "Skipping profile route d: user_id names nobody",
            "Skipping profile route e: user_id names nobody",
            "Skipping profile route f: chat_id is not an id",
            "Skipping profile route g: it is for another profile's bot, which keeps what it receives",
            "profile route h: `profile_routes[8].guild_id` is empty, so the rule does not ask for it",
            "Skipping profile route l: user_id names nobody",
        ]
    );
    let names: Vec<_> = routes.0.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["h", "i", "k"]);
}

#[test]
fn the_top_level_wins_where_something_is_there_and_off_is_off() {
    let rule = |profile: &str| format!("[{{platform: telegram, profile: {profile}}}]");
    let of = |yaml: &str| {
        let loaded = loaded(yaml);
        let ignored = loaded.problems.iter().any(|problem| problem.code == "ignored_key");
        (answers(&loaded.config.unwrap().profile_routes, &telegram("1", "2")), ignored)
    };
    let (a, b, on) = (rule("a"), rule("b"), "multiplex_profiles: true");
    assert_eq!(of(&format!("{on}\nprofile_routes: {a}\ngateway: {{profile_routes: {b}}}")).0, "a");
    assert_eq!(of(&format!("{on}\nprofile_routes:\ngateway: {{profile_routes: {b}}}")).0, "b");
    assert_eq!(of(&format!("{on}\nprofile_routes: []\ngateway: {{profile_routes: {b}}}")).0, "-");
    assert_eq!(of(&format!("profile_routes: {a}")), ("-".to_owned(), true));
    let wrong = loaded(&format!("{on}\nprofile_routes: {{a: b}}"));
    assert!(wrong.problems.iter().any(|p| p.code == CODE && p.severity == Severity::Platform));
    assert!(wrong.config.is_some(), "the rest of the gateway does its work");
}

#[test]
fn the_most_telling_rule_wins_and_of_equals_the_first() {
    let (routes, said) = routes(
        "- {platform: discord, profile: all}\n\
         - {platform: discord, profile: guild, guild_id: g}\n\
         - {platform: discord, profile: chat, chat_id: c}\n\
         - {platform: discord, profile: both, chat_id: c2, guild_id: g}\n\
         - {platform: discord, profile: late, chat_id: c, enabled: true}\n\
         - {platform: discord, profile: thread, thread_id: t}\n\
         - {platform: discord, profile: person, user_id: u}\n",
    );
    assert_eq!(said, [""; 0]);
    let at = |guild, chat, parent, thread, user| {
        let given = |id: &'static str| Some(id).filter(|id| !id.is_empty());
        answers(
            &routes,
            &Arrival {
                platform: "discord",
                guild_id: given(guild),
                chat_id: given(chat),
                parent_chat_id: given(parent),
                thread_id: given(thread),
                user_id: given(user),
                user_id_alt: None,
            },
        )
    };
    assert_eq!(at("", "", "", "", ""), "all");
    assert_eq!(at("g", "", "", "", ""), "guild");
    assert_eq!(at("g", "c", "", "", ""), "chat");
    assert_eq!(at("g", "x", "c", "", ""), "chat", "a thread's parent is its chat");
    assert_eq!(at("g", "c2", "", "", ""), "both");
    assert_eq!(at("x", "c2", "", "", ""), "all", "all that a rule names must be so");
    assert_eq!(at("g", "c", "", "t", ""), "thread");
    assert_eq!(at("g", "c", "", "t", "u"), "person");
    let pairs: Vec<_> = routes.hand_overs().iter().map(|(_, profile)| profile.as_str()).collect();
    assert_eq!(pairs, ["all", "both", "chat", "guild", "late", "person", "thread"]);
}

#[test]
fn one_person_of_whatsapp_has_many_spellings_and_a_group_has_one() {
    let (routes, _) = routes(
        "- {platform: whatsapp, profile: person, user_id: '+15551234567'}\n\
         - {platform: whatsapp, profile: group, chat_id: 123@g.us}\n",
    );
    let from = |chat, user, alt| {
        answers(&routes, &Arrival { platform: "whatsapp", user_id_alt: alt, ..telegram(chat, user) })
    };
    assert_eq!(from("x", "15551234567:3@s.whatsapp.net", None), "person");
    assert_eq!(from("x", "99@lid", Some("15551234567@s.whatsapp.net")), "person");
    assert_eq!(from("123@g.us", "1", None), "group");
    assert_eq!(from("123@s.whatsapp.net", "1", None), "-");
}

#[test]
fn a_rule_that_leads_to_nobody_is_named_with_its_line() {
    let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
    let case = Case {
        registry: &crate::REGISTRY,
        profile: &profile,
        home: &home,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
    };
    let yaml = "agent: {engine: echo}\ngateway:\n  multiplex_profiles: true\n  multiplex_profile_allowlist: [coder]\n\
        profile_routes:\n- platform: telegram\n  profile: coder\n- platform: telegram\n  profile: gone\n\
        - platform: telegram\n  profile: ops\n- platform: telegram\n  profile: default\n";
    let files = Files {
        yaml: Found::Bytes(yaml.as_bytes()),
        profile: Some(|path| {
            if path == "/h/profiles/gone" { Err("there is no such profile".to_owned()) } else { Ok(()) }
        }),
        ..Files::default()
    };
    let problems = judge(case, &files).problems;
    let said: Vec<_> = problems.iter().filter(|p| p.code == UNSERVED).collect();
    let lines: Vec<_> = said.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(9), Some(11)], "{problems:?}");
    assert!(said[0].message.contains("'gone', which is not served (there is no such profile)"), "{said:?}");
    assert!(said[1].message.contains("allowlist"), "{said:?}");
    let without = judge(case, &Files { profile: None, ..files });
    assert!(without.problems.iter().all(|problem| problem.code != UNSERVED));
}

#[test]
fn another_profiles_rules_are_ignored_and_that_is_said() {
    let (profile, home) = ("coder".parse().unwrap(), ProfileHome::new("/h/profiles/coder"));
    let role = Role::Secondary;
    for (rules, said) in
        [("[{platform: telegram, profile: ops}]", true), ("5", true), ("[]", false), ("", false)]
    {
        let yaml = format!("agent: {{engine: echo}}\nprofile_routes: {rules}\n");
        let loaded = load(Input {
            registry: &crate::REGISTRY,
            profile: &profile,
            role,
            multiplex: None,
            listeners: &[],
            home: &home,
            yaml: Some(yaml.as_bytes()),
            env: None,
        });
        let of_rules = |p: &&Problem| p.code == "ignored_key" && p.key.as_deref() == Some("profile_routes");
        assert_eq!(loaded.problems.iter().any(|p| of_rules(&p)), said, "{rules}");
        assert!(loaded.config.unwrap().profile_routes.is_empty());
    }
}

fn rule() -> impl Strategy<Value = ProfileRoute> {
    let id = || prop::option::of("[ab]");
    (prop::sample::select(vec!["p", "whatsapp"]), "[a-c]", id(), id(), id(), id()).prop_map(
        |(platform, profile, user_id, thread_id, chat_id, guild_id)| ProfileRoute {
            name: String::new(),
            platform: platform.to_owned(),
            profile: profile.parse().unwrap(),
            user_id,
            thread_id,
            chat_id,
            guild_id,
            place: (String::new(), None, None, None),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The winner is the first of the best, as a stable sort by weight has it; rules that do not apply change nothing.
    #[test]
    fn the_decision_is_that_of_a_stable_sort(rules in prop::collection::vec(rule(), 0..12),
                                             ids in prop::collection::vec(prop::option::of("[ab]"), 6)) {
        let id = |n: usize| ids[n].as_deref();
        let arrival = Arrival {
            platform: "p", guild_id: id(0), chat_id: id(1), parent_chat_id: id(2), thread_id: id(3),
            user_id: id(4), user_id_alt: id(5),
        };
        let mut sorted: Vec<_> = rules.iter().enumerate()
            .filter_map(|(n, rule)| Some((rule.weight(&arrival)?, n))).collect();
        sorted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let routes = ProfileRoutes(rules.clone());
        let place = |route: &ProfileRoute| routes.0.iter().position(|other| std::ptr::eq(other, route));
        prop_assert_eq!(routes.target(&arrival).and_then(place), sorted.first().map(|(_, n)| *n));
        let apply = ProfileRoutes(rules.into_iter().filter(|rule| rule.weight(&arrival).is_some()).collect());
        prop_assert_eq!(routes.target(&arrival), apply.target(&arrival));
    }
}
