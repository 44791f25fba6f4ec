//! Two profiles, each with a bot of its own: who may talk to one says nothing of the other, what comes by one goes out by it, and a bot that is
//! away is nobody else's errand.

use hermes_tests::chat::{Chat, Refusal, TOKEN};
use hermes_tests::chats::echo;
use hermes_tests::{Gateway, Home, home, process, wait};

const OTHER: &str = "another-token-of-coder";

/// `default` with an open bot, and `coder` with one of its own; `coders` goes into that one's section.
fn house(own: &Chat, other: &Chat, coders: &str) -> Home {
    other.set_token(OTHER);
    let config = Home::config("true", "");
    let config = config.replacen("platforms:\n", &format!("platforms:\n  {}\n", own.section("")), 1);
    let home = Home::with_config(&config);
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    let section = format!("agent: {{engine: echo}}\nplatforms:\n  {}\n", other.closed_section(coders));
    home.profile_with("coder", &section, &format!("TESTCHAT_TOKEN={OTHER}\n"));
    home
}

fn keys(home: &Home, profile: &str) -> Vec<String> {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mut rows = db.prepare("SELECT session_key FROM sessions ORDER BY 1").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// N1.5: the other profile lets everybody in, and this one, which names nobody, does not.
#[test]
fn n1_5_a_profile_without_a_list_lets_nobody_in() {
    let (own, other) = (Chat::start(), Chat::start());
    let home = house(&own, &other, "");
    let _gateway = Gateway::start(&home);
    own.say("ann", "ann", "hello");
    own.wait_seen("ann", &echo("hello"));
    let group = other.say_in_group("team", "ann", "hello");
    other.say("ann", "ann", "hello");
    wait::until_true("a code", || other.seen_in("ann").len() == 1);
    assert!(
        other.seen_in("ann")[0].contains("hermes -p coder pairing approve testchat"),
        "{:?}",
        other.seen()
    );
    wait::until_true("all to be confirmed", || other.confirmed() > group + 1);
    assert_eq!(other.seen().len(), 1, "a group hears nothing");
    assert_eq!(keys(&home, "coder"), [""; 0]);
}

/// N4.3, N4.4: each answer leaves by the bot that was asked, under the profile's own keys; while that bot's service is away it waits, and no other
/// bot says it. N1.3: neither worker knows the other one's token.
#[test]
fn n4_4_an_answer_leaves_by_its_own_bot_or_waits() {
    let (own, other) = (Chat::start(), Chat::start());
    let home = house(&own, &other, ", allow_all_users: true");
    let gateway = Gateway::start(&home);
    own.say("ann", "ann", "one");
    own.wait_seen("ann", &echo("one"));
    other.refuse("send", vec![Refusal { status: 503, retry_after: Some(1) }; 1]);
    other.say("ann", "ann", "two");
    other.wait_seen("ann", &echo("two"));
    let tried = || {
        let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
        db.query_row("SELECT max(attempts) FROM hermes_delivery", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(tried(), 2, "it waited for its own bot");
    assert_eq!((own.seen_in("ann"), other.seen_in("ann")), (vec![echo("one")], vec![echo("two")]));
    assert_eq!(keys(&home, "default"), ["agent:main:testchat:dm:ann"]);
    assert_eq!(keys(&home, "coder"), ["agent:coder:testchat:dm:ann"]);
    if hermes_tests::tools::may_look_into_others() {
        assert_eq!(process::find_in_memory(gateway.worker("default"), &[OTHER]), [""; 0]);
        assert_eq!(process::find_in_memory(gateway.worker("coder"), &[TOKEN]), [""; 0]);
        assert_eq!(process::find_in_memory(gateway.pid(), &[TOKEN, OTHER]), [""; 0]);
    }
    for profile in ["default", "coder"] {
        let log = home.read(profile, "logs/gateway.log").unwrap_or_default();
        assert!(!log.contains(TOKEN) && !log.contains(OTHER), "{log}");
    }
}
