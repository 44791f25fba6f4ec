//! What holds for every input: parsers of outside bytes never panic, and say only what is in them.

use hermes_wire::http::{Split, split};
use hermes_wire::latest::{ClientRequest, FromWorker, Message as _, ToWorker};
use hermes_wire::session_key::{KeyParts, build, canonical_whatsapp, namespace, parse};
use hermes_wire::{ProfileName, handshake, profile, version};
use proptest::prelude::*;

fn name_strategy() -> impl Strategy<Value = ProfileName> {
    "[a-z0-9][a-z0-9_-]{0,20}".prop_filter_map("reserved", |text| text.parse().ok())
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
        for version in version::SUPPORTED {
            let _ = ToWorker::decode(version, &bytes);
            let _ = FromWorker::decode(version, &bytes);
            let _ = ClientRequest::decode(version, &bytes);
        }
        let _ = handshake::Offer::decode(&bytes);
        let _ = handshake::Answer::decode(&bytes);
    }
}
