//! Who may talk to a bot: strangers, codes, lists, and commands, with a real platform and real workers.

use std::process::Output;

use hermes_tests::chat::Chat;
use hermes_tests::chats::{self, echo};
use hermes_tests::gateway::run;
use hermes_tests::{Gateway, Home, home, wait};

/// A home whose default profile has the bot; `more` goes into its section, `env` into its `.env`.
fn house(chat: &Chat, more: &str, env: &str) -> Home {
    let config = Home::config("true", "");
    let config =
        config.replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.closed_section(more)), 1);
    let home = Home::with_config(&config);
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}{env}", home::DEFAULT_KEY, Chat::env()));
    home
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// The code in what the bot said last in a chat.
fn code(chat: &Chat, of: &str) -> String {
    let all = chat.seen_in(of);
    let text = all.last().unwrap();
    assert!(text.starts_with("Hi~ I don't recognize you yet!\n"), "{text}");
    text.rsplit(' ').next().unwrap().trim_end_matches('`').to_owned()
}

/// A stranger is told how to be let in, and is answered from the first message after that on, without a restart; after it is taken back he
/// is a stranger.
#[test]
fn a_stranger_is_let_in_by_his_code_while_the_gateway_runs() {
    let chat = Chat::start();
    let home = house(&chat, "", "");
    let gateway = Gateway::start(&home);
    let first = chat.say("ann", "ann", "hello");
    wait::until_true("the code", || chat.seen_in("ann").len() == 1);
    let group = chat.say_in_group("team", "bob", "hello");
    let again = chat.say("ann", "ann", "hello?");
    wait::until_true("all to be confirmed", || chat.confirmed() > again.max(group).max(first));
    let code = code(&chat, "ann");
    let (status, list) = said(&run(&home, &["pairing", "list"]));
    assert!(
        status == 0 && list.contains("Pending Pairing Requests (1):") && list.contains("No approved users."),
        "{list}"
    );
    assert!(!list.contains(&code), "{list}");
    let (failed, wrong) = said(&run(&home, &["pairing", "approve", "testchat", "AAAAAAAA"]));
    assert!(
        failed == 1 && wrong.contains("Code 'AAAAAAAA' not found or expired for platform 'testchat'."),
        "{wrong}"
    );
    let worker = gateway.worker("default");
    let (status, right) = said(&run(&home, &["pairing", "approve", "testchat", &code.to_lowercase()]));
    assert!(
        status == 0 && right.starts_with("Approved! User ann (ann) on testchat can now use the bot~\n"),
        "{right}"
    );
    chat.say("ann", "ann", "and now?");
    chat.wait_seen("ann", &echo("and now?"));
    assert_eq!((chat.seen_in("ann").len(), chat.seen_in("team").len()), (2, 0));
    assert_eq!(gateway.worker("default"), worker, "nothing was started anew");
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert!(log.contains("Unauthorized user: ann (ann) on testchat") && !log.contains(&code), "{log}");

    assert_eq!(said(&run(&home, &["pairing", "revoke", "testchat", "ann"])).0, 0);
    assert_eq!(said(&run(&home, &["pairing", "revoke", "testchat", "ann"])).0, 1);
    let over = chat.say("ann", "ann", "still there?");
    wait::until_true("it to be confirmed", || chat.confirmed() > over);
    let (_, list) = said(&run(&home, &["pairing", "list"]));
    assert_eq!(list, "No pairing data found. No one has tried to pair yet~\n");
    assert_eq!(chat.seen_in("ann").len(), 2);
}

/// Lists say who may; with one set nobody else hears anything. A profile asks its own files: another one's say nothing.
#[test]
fn lists_and_codes_are_each_profiles_own() {
    let chat = Chat::start();
    let rules = "  profile_routes:\n  - {name: work, platform: testchat, profile: coder, chat_id: work}\n";
    let home = Home::with_config(&format!(
        "{}  {}\n",
        Home::config("true", rules),
        chat.closed_section(", allow_from: [ann]")
    ));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home.profile("coder");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "hello");
    chat.wait_seen("ann", &echo("hello"));
    let stranger = chat.say("bob", "bob", "hello");
    wait::until_true("it to be confirmed", || chat.confirmed() > stranger);
    assert_eq!(chat.seen_in("bob").len(), 0);
    // Ann is nobody to coder, whose bot it is not, and coder's code is for coder.
    chat.say("work", "ann", "hello");
    wait::until_true("coder's code", || chat.seen_in("work").len() == 1);
    let (text, code) = (chat.seen_in("work")[0].clone(), code(&chat, "work"));
    assert!(text.contains(&format!("`hermes -p coder pairing approve testchat {code}`")), "{text}");
    assert_eq!(said(&run(&home, &["pairing", "approve", "testchat", &code])).0, 1);
    assert_eq!(said(&run(&home, &["-p", "coder", "pairing", "approve", "testchat", &code])).0, 0);
    chat.say("work", "ann", "and now?");
    chat.wait_seen("work", &echo("and now?"));
}

/// Commands are answered while a turn runs; a turn is stopped by one, and a conversation ended.
#[test]
fn commands_are_carried_out_while_a_turn_runs() {
    let chat = Chat::start();
    let home = house(&chat, ", allow_all_users: true", "");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &chats::slow(&config, 600_000));
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "a long question");
    let said = |text: &str| chat.seen_in("ann").iter().any(|message| message.contains(text));
    let db = || rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let count = |sql: &str| db().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    wait::until_true("the turn", || count("SELECT count(*) FROM hermes_inbox WHERE state = 'claimed'") == 1);
    chat.say("ann", "ann", "/status");
    wait::until_true("the status", || said("Now: an answer is being made"));
    chat.say("ann", "ann", "/whoami");
    wait::until_true("the name", || said("You are ann (ann) on testchat"));
    chat.say("ann", "ann", "/stop");
    wait::until_true("the stop", || said("⏹ Stopped."));
    wait::until_true("the end", || count("SELECT count(*) FROM hermes_inbox WHERE finished_at IS NULL") == 0);
    chat.say("ann", "ann", "/new");
    wait::until_true("the new conversation", || said("✨ New conversation"));
    wait::until_true("the old one's end", || {
        count("SELECT count(*) FROM sessions WHERE end_reason = 'session_reset'") == 1
    });
    assert!(!said("echo (not a model)"));
}
