//! Commands as people give them, against a real store: what is said at once, what becomes an item, and who may.

use hermes_config::access::Tiers;
use hermes_wire::ProfileHome;

use super::*;
use crate::delivery::outbound::Outbounds;
use crate::inbound::{DedupKey, DeliveryTarget, Source};
use crate::inbox::KeyPolicy;
use crate::store::{Owner, Store};

struct Chat {
    dir: tempfile::TempDir,
    store: Store,
    commands: Commands,
}

fn chat(access: AccessSettings) -> Chat {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
    let store = Store::open(&home, Owner::current()).unwrap();
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    config.model.default = "m".to_owned();
    config
        .access
        .insert("telegram", AccessSettings { home_variable: "TELEGRAM_HOME_CHANNEL".into(), ..access });
    let inbox = Inbox::new(store.clone(), KeyPolicy::of(&config));
    let deliveries = Deliveries::new(store.clone(), Outbounds::default());
    let skills = Library::new(&home, &config);
    let commands =
        Commands::new(&config, &home, inbox, &deliveries, skills, crate::commands::Acts::default());
    Chat { dir, store, commands }
}

fn event(kind: &str, id: &str, text: &str) -> Inbound {
    Inbound {
        source: Source {
            platform: "telegram".into(),
            chat_type: kind.into(),
            chat_id: Some("c".into()),
            user_id: Some("7".into()),
            user_name: Some("Ann".into()),
            ..Source::default()
        },
        text: text.to_owned(),
        dedup: Some(DedupKey { scope: "c".into(), id: id.into() }),
        delivery: DeliveryTarget {
            kind: "telegram".into(),
            extra: [("chat_id".to_owned(), "c".to_owned())].into(),
        },
        context: None,
        end_session: None,
        busy: Busy::Wait,
    }
}

impl Chat {
    async fn say(&self, kind: &str, id: &str, text: &str) -> Accepted {
        self.commands.accept(event(kind, id, text), &Facts::default()).await.unwrap()
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        let look = move |db: &Connection| {
            let mut rows = db.prepare(sql)?;
            rows.query_map([], |row| row.get(0))?.collect()
        };
        self.store.aside(look).await.unwrap()
    }

    /// What was said.
    async fn said(&self) -> Vec<String> {
        self.texts("SELECT content FROM hermes_delivery ORDER BY id").await
    }

    /// Items, as (text, mode).
    async fn items(&self) -> Vec<String> {
        self.texts(
            "SELECT (payload ->> 'text') || ':' || COALESCE(busy, 'wait') FROM hermes_inbox WHERE payload IS NOT NULL ORDER BY id",
        )
        .await
    }

    async fn run(&self, sql: &'static str) {
        self.store.write(move |db| db.execute_batch(sql)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_of_the_bot_itself_is_answered_at_once_and_once() {
    let chat = chat(AccessSettings::default());
    for (id, text) in [
        ("1", "/help"),
        ("1", "/help"),
        ("2", "/whoami"),
        ("3", "/status"),
        ("4", "/model x"),
        ("5", "/start"),
        ("6", "/nothing here"),
    ] {
        let accepted = chat.say("dm", id, text).await;
        assert!(accepted == Accepted::New || (id == "1" && accepted == Accepted::Duplicate), "{text}");
    }
    let said = chat.said().await;
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said[0].contains("/queue <text> - ") && !said[0].contains("/start"), "{}", said[0]);
    assert!(
        said[1].starts_with("You are Ann (7) on telegram") && said[1].ends_with("every command."),
        "{}",
        said[1]
    );
    assert!(
        said[2].contains("Profile: coder\nModel: m\nConversation: none yet\nNow: nothing runs"),
        "{}",
        said[2]
    );
    assert!(said[3].starts_with("The model stays as it is: "), "{}", said[3]);
    assert!(said[4].starts_with("Unknown command `/nothing`. Type /commands"), "{}", said[4]);
    assert_eq!(chat.items().await, [""; 0]);
}

#[tokio::test]
async fn what_concerns_a_turn_is_an_item_that_says_what_it_does() {
    let chat = chat(AccessSettings::default());
    chat.say("dm", "0", "/stop").await;
    assert_eq!(chat.said().await, ["Nothing runs here that could be stopped."]);
    chat.say("dm", "1", "a question").await;
    chat.run("UPDATE hermes_inbox SET state = 'claimed' WHERE payload IS NOT NULL").await;
    for (id, text) in [
        ("2", "/queue and then"),
        ("3", "/q"),
        ("4", "/steer left"),
        ("5", "/stop"),
        ("6", "/reset"),
        ("7", "/compact API"),
    ] {
        assert_eq!(chat.say("dm", id, text).await, Accepted::New, "{text}");
    }
    assert_eq!(
        chat.items().await,
        [
            "a question:wait",
            "and then:queue",
            "left:steer",
            "/stop:interrupt",
            "/new:interrupt",
            "/compress API:wait"
        ]
    );
    let said = chat.said().await[1..].join("\n");
    for part in ["⏳ Queued", "Write /queue and behind it", "⏩ Steered", "⏹ Stopped"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A word that is meant for nobody here is no command; another bot may know it.
#[tokio::test]
async fn a_group_hears_of_unknown_words_only_when_the_bot_was_addressed() {
    let chat = chat(AccessSettings::default());
    chat.say("group", "1", "/roll 6").await;
    chat.say("group", "2", "/usr/bin is full").await;
    assert_eq!(
        (chat.items().await, chat.said().await.len()),
        (vec!["/roll 6:wait".to_owned(), "/usr/bin is full:wait".to_owned()], 0)
    );
    let facts = Facts { addressed: true, ..Facts::default() };
    chat.commands.accept(event("group", "3", "/roll@bot 6"), &facts).await.unwrap();
    assert!(chat.said().await[0].starts_with("Unknown command `/roll`"));
}

#[tokio::test]
async fn who_is_no_admin_gives_the_commands_that_are_his() {
    let tiers = |admin: &str| Tiers {
        admins: [admin].into_iter().collect(),
        commands: ["status"].into_iter().collect(),
    };
    let users =
        chat(AccessSettings { tiers: tiers("1"), group_tiers: tiers("7"), ..AccessSettings::default() });
    for (id, text) in
        [("1", "/new"), ("2", "/sethome"), ("3", "/status"), ("4", "/whoami"), ("5", "/help"), ("6", "hello")]
    {
        users.say("dm", id, text).await;
    }
    let said = users.said().await;
    assert_eq!(said[0], "You may not use /new here. /whoami says what you may.");
    assert!(
        said[1].starts_with("You may not use /sethome") && said[2].starts_with("Profile: coder"),
        "{said:?}"
    );
    assert!(said[3].ends_with("Of commands you may give /help, /status, /whoami."), "{}", said[3]);
    assert!(said[4].contains("/status") && !said[4].contains("/new"), "{}", said[4]);
    assert_eq!(users.items().await, ["hello:wait"], "plain messages are nobody's privilege");
    users.say("group", "7", "/new").await;
    assert_eq!(users.items().await, ["hello:wait", "/new:interrupt"], "an admin there");
}

#[tokio::test]
async fn a_home_channel_is_set_from_its_chat() {
    let chat = chat(AccessSettings::default());
    chat.say("dm", "1", "/set_home").await;
    assert_eq!(chat.said().await, ["This chat (c) is the home channel of telegram now."]);
    let env = fs_err::read_to_string(chat.dir.path().join(".env")).unwrap();
    assert!(
        env.contains("TELEGRAM_HOME_CHANNEL=") && env.contains("TELEGRAM_HOME_CHANNEL_THREAD_ID="),
        "{env}"
    );
}

/// What needs a conversation in which nothing runs says so; what 0.19.0 has besides is named.
#[tokio::test]
async fn what_cannot_be_done_now_or_at_all_is_said() {
    let chat = chat(AccessSettings::default());
    chat.say("dm", "1", "a question").await;
    chat.run("UPDATE hermes_inbox SET state = 'claimed' WHERE payload IS NOT NULL").await;
    for (id, text) in
        [("2", "/retry"), ("3", "/undo now"), ("4", "/resume 1"), ("5", "/goal x"), ("6", "restart gateway")]
    {
        chat.say("dm", id, text).await;
    }
    let said = chat.said().await;
    assert!(said[..3].iter().all(|text| text == BUSY), "{said:?}");
    assert!(said[3].contains("`/goal` is not supported"), "{said:?}");
    assert_eq!(said[4], "Nothing here would start this worker again.");
    assert_eq!(chat.items().await, ["a question:wait"]);
}

/// Whoever writes while a turn runs is told what becomes of the message, once in a while; a picture joins what waits.
#[tokio::test]
async fn who_writes_meanwhile_is_told_seldom() {
    let chat = chat(AccessSettings::default());
    chat.say("dm", "1", "a question").await;
    chat.run("UPDATE hermes_inbox SET state = 'claimed' WHERE payload IS NOT NULL").await;
    let queued = |id: &str, text: &str| Inbound { busy: Busy::Queue, ..event("dm", id, text) };
    for (id, text) in [("2", "one"), ("3", "two")] {
        chat.commands.accept(queued(id, text), &Facts::default()).await.unwrap();
    }
    assert_eq!(
        chat.said().await,
        ["⏳ Queued for the next turn. I'll respond once the current task finishes."]
    );
    let inbox = &chat.commands.0.inbox;
    let merged = inbox.merge(&queued("4", "[image]"), &["5".to_owned()]).await.unwrap();
    assert_eq!(merged, Some(Accepted::New));
    assert_eq!(inbox.merge(&queued("5", "[image]"), &[]).await.unwrap(), None, "it is known");
    assert_eq!(chat.items().await, ["a question:wait", "one:queue", "two\n[image]:queue"]);
}

#[tokio::test]
async fn the_menu_has_commands_and_then_skills() {
    let chat = chat(AccessSettings::default());
    let dir = chat.dir.path().join("skills/say-hello");
    fs_err::create_dir_all(&dir).unwrap();
    fs_err::write(
        dir.join("SKILL.md"),
        "---\nname: say-hello\ndescription: |\n  Says\n  hello.\n---\nHello.\n",
    )
    .unwrap();
    let menu = chat.commands.menu("telegram", 100).await;
    assert_eq!(menu.last().unwrap(), &("say-hello".to_owned(), "Says hello.".to_owned()));
    assert_eq!(chat.commands.menu("telegram", 3).await.len(), 3);
}
