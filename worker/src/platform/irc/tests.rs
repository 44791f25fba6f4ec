//! What lines mean, how a bot becomes a user, what follows from what the server says, and the settings.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::sync::watch;

use super::registration::{Registration, Step, Welcome};
use super::session::Act;
use super::wire::{Casemapping, addressed, is_target, line, said};
use super::*;
use crate::platform::Class;
use crate::platform::harness;
use crate::platform::link::Order;

fn settings(env: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, "", env)
}

const LEAST: &str = "IRC_SERVER=irc.example\nIRC_CHANNEL='#one, #two'\n";

fn bot(more: &str) -> Settings {
    settings(&format!("{LEAST}IRC_NICKNAME=hermes\n{more}")).0.unwrap()
}

fn hear(text: &str) -> wire::Line {
    line(text.as_bytes()).expect(text)
}

#[test]
fn a_server_and_channels_turn_it_on_and_what_is_wrong_with_them_is_said() {
    assert_eq!(settings(""), (None, Vec::new()));
    let (found, problems) = settings(LEAST);
    let found = found.unwrap();
    assert_eq!((problems, found.fault, found.port, found.tls), (Vec::new(), None, 6697, true));
    assert_eq!(
        (found.nick.as_str(), &found.channels[..]),
        ("hermes-bot", &["#one".to_owned(), "#two".to_owned()][..])
    );
    assert!(settings("IRC_SERVER=127.0.0.1\nIRC_CHANNEL='#a'\nIRC_USE_TLS=false\n").1.is_empty());
    for env in [
        "IRC_SERVER=irc.example:6667\nIRC_CHANNEL='#a'\n",
        "IRC_SERVER='ircs://irc.example'\nIRC_CHANNEL='#a'\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_USE_TLS=false\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL=a\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a b'\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_NICKNAME=9lives\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_NICKNAME='a b'\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_SASL_USERNAME=a\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_SASL_PASSWORD=a\n",
        "IRC_SERVER=irc.example\nIRC_CHANNEL='#a'\nIRC_SERVER_PASSWORD=\"a\\nQUIT\"\n",
    ] {
        let (found, problems) = settings(env);
        assert_eq!(problems, ["irc_config_missing"], "{env}");
        assert!(found.unwrap().fault.is_some(), "{env}");
    }
}

#[test]
fn lines_are_read_as_the_protocol_has_them() {
    let read = hear("@account=ann;msgid=a\\sb;x;time=1 :ann!~a@host PRIVMSG #c  :hello :there ");
    assert_eq!((read.account.as_deref(), read.id), (Some("ann"), None), "a name has no blank");
    assert_eq!(
        (read.nick.as_str(), read.mask.as_str(), read.command.as_str()),
        ("ann", "ann!~a@host", "PRIVMSG")
    );
    assert_eq!(read.params, ["#c", "hello :there "]);
    let read = hear("ping x");
    assert_eq!((read.command.as_str(), read.params[0].as_str(), read.nick.as_str()), ("PING", "x", ""));
    assert_eq!(hear(":srv 005 me A=1 B :are supported").params.len(), 4);
    assert_eq!(hear(&format!("X {}", "a ".repeat(20))).params.len(), 15);
    assert_eq!(line(b":ann PRIVMSG me :caf\xe9").unwrap().last(), "café", "from before UTF-8");
    for odd in [":alone", "", " ", ":a ", "@tags", "PRIV-MSG x", "X \0"] {
        assert_eq!(line(odd.as_bytes()), None, "{odd}");
    }
    assert!(line(format!("X :{}", "a".repeat(507)).as_bytes()).is_some());
    assert!(line(format!("X :{}", "a".repeat(508)).as_bytes()).is_none());
    assert!(line(format!("@{} X", "a".repeat(8189)).as_bytes()).is_some());
    assert!(line(format!("@{} X", "a".repeat(8190)).as_bytes()).is_none());
}

#[test]
fn texts_are_read_without_their_signs_and_requests_of_programs_are_none() {
    assert_eq!(
        said("a\u{2}b\u{2} \u{3}4,12c\u{3} \u{3}d \u{4}ff00ffe\u{f}, 1").as_deref(),
        Some("ab c d e, 1")
    );
    assert_eq!(said("\u{3}4,x").as_deref(), Some(",x"));
    assert_eq!(said("\u{1}ACTION waves\u{1}").as_deref(), Some("*waves*"));
    assert_eq!((said("\u{1}VERSION\u{1}"), said("\u{1}PING 1")), (None, None));
    let map = Casemapping::Rfc1459;
    let of = |text| addressed(text, "Hermes[x]", map);
    assert_eq!(of("hermes{X}: hi"), Some("hi"));
    assert_eq!((of("Hermes[x], hi "), of("Hermes[x] hi")), (Some("hi"), Some("hi")));
    for other in ["Hermes[x]", "Hermes[x]:", "Hermes[x]y: hi", "hi Hermes[x]: x", "hermes: hi", "ü"] {
        assert_eq!(of(other), None, "{other}");
    }
    for odd in ["", "a b", "a,b", "a\r\nQUIT", ":a", "a!b@c", "$*"] {
        assert!(!is_target(odd), "{odd:?}");
    }
    assert!(is_target("#c") && is_target("ann") && is_target("a[b]"));
}

/// What is said to each line, in one text.
fn talk(registration: &mut Registration<'_>, lines: &[&str]) -> Result<Vec<String>, String> {
    let mut said = registration.begin();
    for text in lines {
        match registration.hear(&hear(text)) {
            Step::Say(lines) => said.extend(lines),
            Step::Welcome(welcome) => said.push(format!("welcome {} {}", welcome.nick, welcome.vouches)),
            Step::Ended(ended) => return Err(format!("{} {}", ended.is_fatal, ended.code)),
        }
    }
    Ok(said)
}

#[test]
fn a_bot_becomes_a_user() {
    let plain = bot("IRC_SERVER_PASSWORD=pw\n");
    let said = talk(
        &mut Registration::new(&plain),
        &[
            ":s CAP * LS * :sasl=PLAIN",
            ":s CAP * LS :account-tag x=y",
            ":s CAP hermes ACK :account-tag",
            ":s 001 hermes :Hi",
        ],
    );
    let expected = [
        "PASS :pw",
        "CAP LS 302",
        "NICK hermes",
        "USER hermes 0 * :Hermes Agent",
        "CAP REQ :account-tag",
        "CAP END",
        "welcome hermes true",
    ];
    assert_eq!(said.unwrap(), expected);
    // From before capabilities.
    let said = talk(
        &mut Registration::new(&plain),
        &[":s 421 hermes CAP :Unknown command", ":s 433 * hermes :in use", ":s 001 hermes_ :Hi"],
    );
    assert_eq!(said.unwrap()[4..], ["NICK hermes_", "welcome hermes_ false"]);
    let account = bot("IRC_SASL_USERNAME=hermes\nIRC_SASL_PASSWORD=secret\n");
    let offered =
        [":s CAP * LS :sasl message-tags", ":s CAP hermes ACK :message-tags sasl", "AUTHENTICATE +"];
    let with = |last: &[&'static str]| talk(&mut Registration::new(&account), &[&offered[..], last].concat());
    assert_eq!(
        with(&[":s 903 hermes :ok", ":s 001 hermes :Hi"]).unwrap().last().unwrap(),
        "welcome hermes false"
    );
    assert!(with(&[]).unwrap().iter().any(|line| line == "AUTHENTICATE AGhlcm1lcwBzZWNyZXQ="));
    assert_eq!(with(&[":s 904 hermes :no"]), Err("true irc_invalid_auth".to_owned()));
    assert_eq!(
        with(&[":s 001 hermes :Hi"]),
        Err("false irc_sasl_unavailable".to_owned()),
        "never without it"
    );
    for lines in [
        &[":s CAP * LS :message-tags"][..],
        &[":s CAP * LS :sasl=EXTERNAL"],
        &[":s 421 x CAP :?"],
        &[":s 001 hermes :Hi"],
    ] {
        assert_eq!(
            talk(&mut Registration::new(&account), lines),
            Err("false irc_sasl_unavailable".to_owned()),
            "{lines:?}"
        );
    }
    for (text, expected) in [
        (":s 464 * :Password incorrect", "true irc_invalid_auth"),
        ("ERROR :Access denied: Bad password?", "true irc_invalid_auth"),
        (":s 465 * :banned", "true irc_invalid_auth"),
        (":s 432 * hermes :Erroneous", "true irc_nick_refused"),
        ("ERROR :Trying to reconnect too fast.", "false irc_network_error"),
    ] {
        assert_eq!(talk(&mut Registration::new(&plain), &[text]), Err(expected.to_owned()), "{text}");
    }
    let taken = [":s 433 * hermes :in use"; 9];
    assert_eq!(talk(&mut Registration::new(&plain), &taken), Err("false irc_nick_in_use".to_owned()));
}

/// A session of a bot that has this nick.
fn session<'s>(settings: &'s Settings, nick: &str, vouches: bool) -> (Session<'s>, Vec<String>) {
    let mut registration = Registration::new(settings);
    let Step::Welcome(welcome) = registration.hear(&hear(&format!(":s 001 {nick} :Hi"))) else { panic!() };
    let welcome = Welcome { vouches, ..*welcome };
    let (session, acts) = Session::new(settings, welcome, Instant::now());
    (session, spoken(acts))
}

fn spoken(acts: Vec<Act>) -> Vec<String> {
    let line = |act| match act {
        Act::Say(line) => Some(line),
        _ => None,
    };
    acts.into_iter().filter_map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bot_is_in_its_channels_and_comes_back() {
    let settings = bot("");
    let (mut session, first) = session(&settings, "hermes", false);
    assert_eq!(first, ["JOIN #one", "JOIN #two"]);
    let now = Instant::now();
    assert_eq!(session.missing().len(), 2);
    session.hear(&hear(":hermes!~h@some.host JOIN :#ONE"), now);
    assert_eq!(session.room("#one"), 450);
    session.hear(&hear(":s 474 hermes #two :Cannot join channel (+b)"), now);
    assert_eq!(session.missing(), ["#two: Cannot join channel (+b) (474)"]);
    let second = Duration::from_secs(1);
    assert_eq!(session.due(), Some(now + 5 * second));
    assert_eq!(spoken(session.on_time(now + 5 * second)), ["JOIN #two"]);
    session.hear(&hear(":s 474 hermes #two :Cannot join channel (+b)"), now + 5 * second);
    assert_eq!(session.due(), Some(now + 15 * second), "twice as long");
    session.hear(&hear(":op!o@h KICK #one hermes :out"), now);
    assert_eq!(spoken(session.on_time(now + 5 * second)), ["JOIN #one"]);
    assert_eq!(session.missing().len(), 2);
    // A very long host leaves less room.
    session.hear(&hear(&format!(":hermes!~h@{} JOIN #one", "h".repeat(100))), now);
    assert!(session.room("#one") < 400, "{}", session.room("#one"));
}

#[tokio::test(start_paused = true)]
async fn a_nick_is_had_once_it_is_free() {
    let settings = bot("IRC_NICKSERV_PASSWORD=secret\n");
    let (mut session, first) = session(&settings, "hermes_", false);
    assert_eq!(first[0], "PRIVMSG NickServ :GHOST hermes secret");
    let now = Instant::now();
    assert_eq!(session.due(), Some(now + Duration::from_mins(1)));
    assert_eq!(spoken(session.hear(&hear(":Hermes!h@h QUIT :bye"), now)).last().unwrap(), "NICK hermes");
    let acts = session.hear(&hear(":hermes_!h@h NICK :hermes"), now);
    assert_eq!(
        (spoken(acts), session.due(), session.nick()),
        (vec!["PRIVMSG NickServ :IDENTIFY secret".to_owned()], None, "hermes")
    );
}

#[tokio::test(start_paused = true)]
async fn who_speaks_to_the_bot_is_heard_by_his_name() {
    let settings = bot("");
    let of = |vouches: bool, text: &str| {
        let (mut session, _) = session(&settings, "hermes", vouches);
        let acts = session.hear(&hear(text), Instant::now());
        acts.into_iter().find_map(|act| match act {
            Act::Heard(incoming) => Some(*incoming),
            _ => None,
        })
    };
    let heard = of(false, "@account=a :Ann!a@h PRIVMSG #One :hermes: hi").unwrap();
    assert_eq!(
        (heard.id.as_str(), heard.channel.as_deref(), heard.text.as_str()),
        ("ann", Some("#one"), "hi")
    );
    let heard = of(true, "@account=a;msgid=7;bot :Ann!a@h PRIVMSG hermes :hi").unwrap();
    assert_eq!(
        (heard.id.as_str(), heard.channel, heard.message_id.as_deref(), heard.is_bot),
        ("a", None, Some("7"), true)
    );
    assert_eq!(of(true, ":ann!a@h PRIVMSG hermes :hi").unwrap().id, "ann!a@h", "a nick is nobody's name");
    for other in [
        ":ann!a@h PRIVMSG #one :hi hermes",
        ":ann!a@h NOTICE hermes :hi",
        ":hermes!a@h PRIVMSG #one :hermes: hi",
        ":irc.example PRIVMSG hermes :hi",
        ":ann!a@h PRIVMSG hermes :\u{1}VERSION\u{1}",
        ":ann!a@h PRIVMSG @#one :hermes: hi",
        ":ann!a@h PRIVMSG hermes :",
    ] {
        assert_eq!(of(false, other), None, "{other}");
    }
}

#[test]
fn what_ends_a_connection_is_told_apart() {
    let of = |ended: Ended| (down(ended.clone()).class, down(ended).code);
    assert_eq!(of(Ended::fatal("irc_invalid_auth", "x")), (Class::Fatal, "irc_invalid_auth".to_owned()));
    assert_eq!(of(Ended::lost("irc_network_error", "x")), (Class::Retrying, "irc_network_error".to_owned()));
}

/// A connection whose server is the test.
struct Talk {
    server: BufReader<DuplexStream>,
    desk: Arc<Desk>,
    orders: watch::Sender<Order>,
}

impl Talk {
    async fn say(&mut self, line: &str) {
        self.server.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> String {
        let mut line = String::new();
        self.server.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

/// Runs a connection until the server's side of it is over.
async fn connected<T>(talk: impl AsyncFnOnce(&mut Talk) -> T) -> (T, Result<(), Ended>) {
    let settings = bot("");
    let (ours, theirs) = tokio::io::duplex(4096);
    let mut pipe = Pipe::over(Box::new(ours));
    let orders = watch::Sender::new(Order::Connect);
    let (link, _heard) = Link::new(orders.subscribe(), true);
    let (session, _) = session(&settings, "hermes", false);
    let desk = Arc::new(Desk::default());
    let (calls, opened) = desk.open();
    let (sender, _incoming) = mpsc::channel(WAITING);
    let mut side = Talk { server: BufReader::new(theirs), desk, orders };
    let running = async {
        let ended = Connection::new(&mut pipe, session, calls, sender).run(&link, Vec::new()).await;
        drop(opened);
        ended
    };
    let (ended, said) = tokio::join!(running, talk(&mut side));
    (said, ended)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_there_once_the_server_has_taken_all_of_it() {
    let ((), ended) = connected(async |talk| {
        let desk = Arc::clone(&talk.desk);
        let text = "word ".repeat(100);
        let mut saying = std::pin::pin!(desk.say("#one", text));
        let mut lines = Vec::new();
        let began = Instant::now();
        let token = loop {
            tokio::select! {
                done = &mut saying => panic!("{done:?}"),
                line = talk.next() => match line.strip_prefix("PING :") {
                    Some(token) => break token.to_owned(),
                    None => lines.push(line),
                },
            }
        };
        assert!(
            lines.len() == 2 && lines.iter().all(|line| line.starts_with("PRIVMSG #one :word")),
            "{lines:?}"
        );
        assert!(began.elapsed() >= Duration::from_millis(300));
        talk.say(&format!(":s PONG s :{token}")).await;
        assert_eq!(saying.await, Ok(()));
        // Nobody of that name.
        let mut saying = std::pin::pin!(desk.say("bob", "hi".to_owned()));
        tokio::select! {
            done = &mut saying => panic!("{done:?}"),
            line = talk.next() => assert_eq!(line, "PRIVMSG bob :hi"),
        }
        talk.say(":s 401 hermes bob :No such nick").await;
        let refused = saying.await;
        assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("401")), "{refused:?}");
        talk.next().await;
        // Lost in the middle of it.
        let mut saying = std::pin::pin!(desk.say("#one", "hi".to_owned()));
        tokio::select! {
            done = &mut saying => panic!("{done:?}"),
            line = talk.next() => assert_eq!(line, "PRIVMSG #one :hi"),
        }
        talk.say("ERROR :Closing Link").await;
        let lost = saying.await;
        assert!(
            matches!(lost, Err(crate::delivery::outbound::Unsent::Later { unsure: true, .. })),
            "{lost:?}"
        );
        let unconnected = desk.say("#one", "hi".to_owned()).await;
        assert!(matches!(unconnected, Err(crate::delivery::outbound::Unsent::Later { unsure: false, .. })));
    })
    .await;
    assert_eq!(ended.unwrap_err().code, "irc_network_error");
}

/// Half-open: nobody answers, and no goodbye comes.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_asked_and_then_lost() {
    let began = Instant::now();
    let (asked, ended) = connected(async |talk| talk.next().await).await;
    assert!(asked.starts_with("PING :hermes-"), "{asked}");
    assert!(ended.unwrap_err().why.contains("silent"));
    assert!(began.elapsed() >= Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_said_is_said_to_its_end_before_a_connection_is_given_up() {
    let (said, ended) = connected(async |talk| {
        let desk = Arc::clone(&talk.desk);
        let mut saying = std::pin::pin!(desk.say("#one", "one\ntwo".to_owned()));
        let first = tokio::select! {
            done = &mut saying => panic!("{done:?}"),
            line = talk.next() => line,
        };
        talk.orders.send_replace(Order::Hold);
        let second = talk.next().await;
        let token = talk.next().await;
        talk.say(&format!(":s PONG s :{}", token.trim_start_matches("PING :"))).await;
        assert_eq!(saying.await, Ok(()));
        [first, second]
    })
    .await;
    assert_eq!(
        (said.map(|line| line.replace("PRIVMSG #one :", "")), ended),
        (["one".to_owned(), "two".to_owned()], Ok(()))
    );
}
