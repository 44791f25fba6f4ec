//! People who talk to the bots of those that are hit: each says something, waits for the answer, and says the next thing.

use hermes_tests::chats::{connection, echo};
use hermes_tests::discord::{ANN, BOB, Discord};
use hermes_tests::matrix::Homeserver;
use hermes_tests::signal::Signal as SignalDaemon;
use hermes_tests::slack::Slack;
use hermes_tests::tap::Tap;
use hermes_tests::telegram::Telegram;
use hermes_tests::whatsapp::{self, Servers};

use super::*;

/// People on each service.
const PEOPLE: usize = 2;

/// Has somebody say something.
type Saying = Box<dyn Fn(usize, &str) + Send + Sync>;

/// One service, and the bot there.
pub(super) struct Line {
    profile: &'static str,
    name: &'static str,
    /// What is said while nobody listens is lost there, by the service.
    is_lossy: bool,
    say: Saying,
    heard: Box<dyn Fn(usize) -> Vec<String> + Send + Sync>,
    /// Cuts the bot off, for a moment.
    pub(super) cut: Box<dyn Fn() + Send + Sync>,
    /// How often two held one bot's connection.
    pub(super) overlaps: Box<dyn Fn() -> u32 + Send + Sync>,
    /// What each person has said.
    said: [Mutex<Vec<String>>; PEOPLE],
}

fn line(
    (profile, name): (&'static str, &'static str),
    say: impl Fn(usize, &str) + Send + Sync + 'static,
    heard: impl Fn(usize) -> Vec<String> + Send + Sync + 'static,
    cut: impl Fn() + Send + Sync + 'static,
) -> Line {
    Line {
        profile,
        name,
        is_lossy: false,
        say: Box::new(say),
        heard: Box::new(heard),
        cut: Box::new(cut),
        overlaps: Box::new(|| 0),
        said: Default::default(),
    }
}

fn number(person: usize) -> u64 {
    7000 + u64::try_from(person).unwrap()
}

/// Gives each of those that are hit bots of its own.
pub(super) fn furnish(home: &Home) -> Vec<Line> {
    let give = |profile: &str, env: &str| {
        let before = home.read(profile, ".env").unwrap_or_default();
        home.write(profile, ".env", &format!("{before}{env}"));
    };
    let telegram: &'static Telegram = Box::leak(Box::new(Telegram::start()));
    let wire: &'static Tap =
        Box::leak(Box::new(Tap::start(telegram.address().trim_start_matches("http://"))));
    give("default", &telegram.env().replace(&telegram.address(), &format!("http://{}", wire.address)));
    let chat = |person| i64::try_from(number(person)).unwrap();
    let mut on_telegram = line(
        ("default", "telegram"),
        move |person, text| {
            telegram.say(chat(person), text);
        },
        move |person| telegram.seen_in(chat(person)),
        || wire.cut(),
    );
    on_telegram.overlaps = Box::new(|| telegram.overlaps());

    let slack: &'static Slack = Box::leak(Box::new(Slack::start()));
    (0..PEOPLE).for_each(|person| slack.channel(&format!("D{person}"), "im", hermes_tests::slack::TEAM));
    give("coder", &slack.env());
    let on_slack = line(
        ("coder", "slack"),
        |person, text| drop(slack.say(&format!("D{person}"), &format!("U{person}"), text)),
        |person| slack.seen_in(&format!("D{person}")),
        || slack.cut(),
    );

    let discord: &'static Discord = Box::leak(Box::new(Discord::start()));
    give("ops", &discord.env());
    let people = [ANN, BOB];
    let mut on_discord = line(
        ("ops", "discord"),
        move |person, text| {
            discord.tell(people[person], text);
        },
        move |person| discord.seen_in(discord.private(people[person])),
        || discord.cut_all(),
    );
    on_discord.overlaps = Box::new(|| discord.overlaps());

    let signal: &'static SignalDaemon = Box::leak(Box::new(SignalDaemon::start()));
    give("coder", &format!("{}SIGNAL_ALLOW_ALL_USERS=true\n", signal.env()));
    let phone = |person| format!("+4930{}", number(person));
    let mut on_signal = line(
        ("coder", "signal"),
        move |person, text| {
            signal.say(&phone(person), text);
        },
        move |person| {
            let said = signal.said().into_iter().filter(|said| said.chat == phone(person));
            said.map(|said| said.text).collect()
        },
        || signal.cut(),
    );
    on_signal.is_lossy = true;

    let mut lines = vec![on_telegram, on_slack, on_discord, on_signal];
    if has_node() {
        let servers: &'static Servers = Box::leak(Box::new(Servers::start()));
        servers.install(home);
        whatsapp::link(home, "default", whatsapp::ACCOUNT);
        give("default", "WHATSAPP_ENABLED=true\nWHATSAPP_MODE=bot\nWHATSAPP_ALLOW_ALL_USERS=true\n");
        let phone = |person| format!("4930{}", number(person));
        lines.push(line(
            ("default", "whatsapp"),
            move |person, text| drop(servers.say(&phone(person), text)),
            move |person| {
                let chat = whatsapp::chat(&phone(person));
                servers.said().into_iter().filter(|said| said.chat == chat).map(|said| said.text()).collect()
            },
            || servers.cut(),
        ));
    }
    lines.extend(Homeserver::shared().map(|server| on_matrix(server, &give)));
    lines
}

fn has_node() -> bool {
    let is_there =
        ["/usr/local/bin/node", "/usr/bin/node"].iter().any(|path| std::path::Path::new(path).exists());
    if !is_there {
        tools::skip("WhatsApp's bridge needs Node.js 20 or newer");
    }
    is_there
}

fn on_matrix(server: &'static Homeserver, give: &dyn Fn(&str, &str)) -> Line {
    let wire: &'static Tap = Box::leak(Box::new(Tap::start(server.address())));
    let bot = server.person("chaos");
    give("ops", &format!("{}MATRIX_ALLOW_ALL_USERS=true\n", bot.env(&wire.address)));
    let people: Vec<_> = (0..PEOPLE)
        .map(|_| {
            let person = server.person("talker");
            let room = person.private(&bot);
            bot.join(&room);
            (person, room)
        })
        .collect();
    let people: &'static [_] = people.leak();
    line(
        ("ops", "matrix"),
        |person, text| {
            let (person, room) = &people[person];
            person.say(room, text);
        },
        move |person| {
            let (person, room) = &people[person];
            person.texts_by(room, &bot)
        },
        || wire.cut(),
    )
}

/// Waits until every bot is there: what was said before that is not for it.
pub(super) fn wait_connected(gateway: &Gateway<'_>, lines: &[Line]) {
    for line in lines {
        wait::until_true(&format!("{} to be connected", line.name), || {
            connection(gateway, line.profile, line.name).0 == "connected"
        });
    }
}

/// One person after the other's answers, on one service, until the end.
pub(super) fn talk(shared: &Shared, line: &Line, person: usize) {
    for n in 1_usize.. {
        let text = format!("chaos {n}");
        (line.say)(person, &text);
        line.said[person].lock().unwrap().push(text.clone());
        let began = wait::now();
        while !is_answered(&(line.heard)(person), &text) {
            wait::pass(Duration::from_millis(50));
            if shared.stop.load(SeqCst) {
                return;
            }
            if line.is_lossy && began.elapsed() > Duration::from_secs(2) {
                break;
            }
        }
        wait::pass(Duration::from_millis(50));
    }
}

fn is_answered(heard: &[String], text: &str) -> bool {
    let answer = echo(text);
    heard.iter().any(|heard| heard.ends_with(&answer))
}

/// Everybody on a service.
pub(super) fn everybody<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    shared: &'scope Shared,
    lines: &'scope [Line],
) {
    for line in lines {
        for person in 0..PEOPLE {
            scope.spawn(move || talk(shared, line, person));
        }
    }
}

/// Waits until everything that was said is answered, once, or what came twice says so.
pub(super) fn settle(gateway: &Gateway<'_>, lines: &[Line]) {
    for line in lines {
        for person in 0..PEOPLE {
            let said = line.said[person].lock().unwrap().clone();
            let what = format!("{} answers to person {person} on {}", said.len(), line.name);
            let is_done = || {
                let heard = (line.heard)(person);
                said.iter().all(|text| is_answered(&heard, text))
            };
            if !line.is_lossy {
                wait::within(SETTLED, &what, is_done, || {
                    let how = connection(gateway, line.profile, line.name);
                    let heard = (line.heard)(person);
                    format!("{how:?}, heard {heard:?}\n{}", waiting(gateway.home, line.profile))
                });
            }
            let heard = (line.heard)(person);
            for text in &said {
                let answer = echo(text);
                let unmarked = |heard: &&String| heard.ends_with(&answer) && !heard.starts_with('♻');
                assert!(
                    heard.iter().filter(unmarked).count() <= 1,
                    "{what}: {text} is answered twice: {heard:?}"
                );
            }
        }
        assert_eq!((line.overlaps)(), 0, "{}: two held one bot's connection", line.name);
    }
}
