//! What holds for every input: parsers of outside bytes never panic, and say only what is in them.

use hermes_protocol::config::{Input, load, routes_for};
use hermes_protocol::http::{Split, split};
use hermes_protocol::latest::{BoundListener, FromWorker, Role, Severity, ToWorker};
use hermes_protocol::session_key::{KeyParts, build, canonical_whatsapp, namespace, parse};
use hermes_protocol::{ProfileName, RootHome, codec, handshake, profile};
use proptest::prelude::*;

fn name_strategy() -> impl Strategy<Value = ProfileName> {
    "[a-z0-9][a-z0-9_-]{0,20}".prop_filter_map("reserved", |text| text.parse().ok())
}

/// Text that looks like YAML more often than noise does.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "platforms",
        "webhook",
        "gateway",
        "extra",
        "routes",
        "a",
        "enabled",
        "true",
        "'",
        "\"",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&x ",
        "*x",
        "<<",
        "|",
        ">",
        "#",
        "!t ",
        "!!str ",
        "? ",
        "---\n",
        "\t",
        "${A}",
        "${",
        "~",
        "\u{feff}",
        "\u{0}",
        "é",
        "%YAML 1.2\n",
        "@",
        "`",
        "\\",
        "-1",
        "1e9",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn check_load(role: Role, yaml: &[u8], env: &[u8]) {
    let name: ProfileName = "coder".parse().expect("a valid name");
    let home = RootHome::new("/h").profile(&name);
    let listeners =
        [BoundListener { address: "127.0.0.1:1".into(), host: None, platforms: vec!["webhook".into()] }];
    let input = Input {
        profile: &name,
        role,
        multiplex: None,
        listeners: &listeners,
        home: &home,
        yaml: Some(yaml),
        env: Some(env),
    };
    let loaded = load(input);
    assert_eq!(loaded.config.is_none(), loaded.problems.iter().any(|p| p.severity == Severity::Profile));
    assert!(loaded.problems.windows(2).all(|pair| pair[0].severity >= pair[1].severity));
    assert!(
        loaded.problems.iter().all(|p| p.line != Some(0) && p.column != Some(0) && !p.message.is_empty())
    );
    assert_eq!(load(input), loaded);
    let (routes, _) = routes_for(&name, ("/h/config.yaml".into(), yaml), ("/h/.env".into(), env));
    assert!(routes.iter().all(|(_, route)| route.profile.as_deref() == Some("coder")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_split_path_gives_back_the_very_bytes(path in "(/p)?(/[a-zA-Z0-9%._-]{0,8}){0,4}|\\PC{0,40}") {
        match split(&path) {
            Split::Unprefixed(rest) => prop_assert_eq!(rest, &path),
            Split::Prefixed(name, rest) => {
                prop_assert!(path.ends_with(rest) && rest.starts_with('/') && rest.len() > 1);
                prop_assert!(path.starts_with("/p/"));
                prop_assert!(profile::is_grammatical(name.as_str()));
            }
            Split::Bare(_) | Split::UnknownProfile => prop_assert!(path.starts_with("/p")),
        }
    }

    #[test]
    fn a_name_is_grammatical_or_refused(text in "\\PC{0,70}|[a-z0-9_-]{1,70}") {
        match text.parse::<ProfileName>() {
            Ok(name) => {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(profile::is_grammatical(&text) && !profile::RESERVED.contains(&text.as_str()));
            }
            Err(_) => {
                prop_assert!(!profile::is_grammatical(&text) || profile::RESERVED.contains(&text.as_str()));
            }
        }
    }

    #[test]
    fn configuration_never_panics_on_text(yaml in yamlish(), env in "(\\PC{0,20}\n|[A-Z_]{1,8}=\\PC{0,12}\n){0,6}") {
        for role in [Role::Primary, Role::Secondary] {
            check_load(role, yaml.as_bytes(), env.as_bytes());
        }
    }

    #[test]
    fn configuration_never_panics_on_bytes(yaml in prop::collection::vec(any::<u8>(), 0..200),
                                           env in prop::collection::vec(any::<u8>(), 0..200)) {
        check_load(Role::Primary, &yaml, &env);
    }

    #[test]
    fn a_value_never_shows_in_a_problem(key in prop::sample::select(vec![
        "model", "agent", "gateway", "platforms", "logging", "session_reset",
    ]), field in "[a-z_]{1,10}") {
        let secret = "hunter2hunter2";
        for yaml in [
            format!("{key}: {{{field}: {secret}}}"), format!("{key}: {secret}"), format!("{key}: [{secret}]"),
            format!("{key}: {{{field}: [{secret}]}}"), format!("{key}: \"{secret}"), format!("{key}: @{secret}"),
            format!("{key}: *{secret}"), format!("{key}: !{secret} x"), format!("{key}: {{{field}: {secret}"),
        ] {
            let name = ProfileName::default_profile();
            let home = RootHome::new("/h").profile(&name);
            let env = format!("{secret}\nA=\"{secret}\n1{secret}=x\n");
            let loaded = load(Input {
                profile: &name, role: Role::Primary, multiplex: None, listeners: &[], home: &home,
                yaml: Some(yaml.as_bytes()), env: Some(env.as_bytes()),
            });
            let shown = format!("{:?}", loaded.problems);
            prop_assert!(!shown.contains(secret), "{} -> {}", yaml, shown);
        }
    }

    #[test]
    fn keys_have_their_fixed_positions(
        name in name_strategy(), platform in "[a-z_]{1,12}",
        chat_type in prop::sample::select(vec!["dm", "group", "channel", "thread", "webhook"]),
        ids in prop::array::uniform4(prop::option::of("\\PC{0,12}")), flags in any::<(bool, bool)>(),
    ) {
        let [chat, thread, user, alt] = &ids;
        let key = build(&KeyParts {
            profile: &name, platform: &platform, chat_type,
            chat_id: chat.as_deref(), thread_id: thread.as_deref(),
            user_id: user.as_deref(), user_id_alt: alt.as_deref(),
            group_sessions_per_user: flags.0, thread_sessions_per_user: flags.1,
        });
        let head = parse(&key).expect("our own keys parse");
        prop_assert_eq!((head.namespace, head.platform, head.chat_type), (namespace(&name), platform.as_str(), chat_type));
        if let Some(chat) = chat.as_deref().filter(|id| !id.is_empty() && !platform.starts_with("whatsapp")) {
            prop_assert!(head.tail.is_some_and(|tail| tail.starts_with(chat)));
        }
    }

    #[test]
    fn canonical_ids_are_stable(id in "\\PC{0,30}|\\+?[0-9]{1,15}(:[0-9])?(@s\\.whatsapp\\.net)?") {
        let once = canonical_whatsapp(&id);
        prop_assert_eq!(canonical_whatsapp(&once), once);
    }

    #[test]
    fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = codec::decode::<ToWorker>(&bytes);
        let _ = codec::decode::<FromWorker>(&bytes);
        let _ = handshake::Offer::decode(&bytes);
        let _ = handshake::Answer::decode(&bytes);
    }
}
