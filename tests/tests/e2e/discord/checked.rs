//! What is said of a bot that is asked about on request: every state that it can be in, and that nothing changes by it.

use hermes_tests::Gateway;
use hermes_tests::chats::ask;
use hermes_tests::discord::{Discord, MESSAGE_CONTENT, Refusal, TOKEN};

use super::{connection, house, wait_connected};

/// The routes that were asked for since then, each once.
fn routes(discord: &Discord, since: usize) -> Vec<String> {
    let mut all: Vec<String> = discord.all_calls().into_iter().skip(since).map(|call| call.route).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_bot_is_asked_about_and_each_lack_is_named() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let fine = ask(&home, "discord");
    assert_eq!(
        (fine.verdict.as_str(), fine.message.as_str(), fine.lacks.len()),
        ("fine", "@hermes_test_bot answers, and is in the server Guild", 0)
    );
    assert_eq!(routes(&discord, 0), ["GET applications/@me", "GET users/@me", "GET users/@me/guilds"]);
    assert_eq!(discord.begun(), (0, 0), "nothing was connected");

    discord.disallow(MESSAGE_CONTENT);
    let intent = ask(&home, "discord");
    assert_eq!(intent.verdict, "lacking");
    assert!(intent.lacks("Message Content Intent is not turned on", "/applications/4243/bot"), "{intent:?}");
    discord.disallow(0);

    // View Channels, and nothing else.
    discord.permit(1 << 10);
    let narrow = ask(&home, "discord");
    assert_eq!(narrow.verdict, "fine");
    assert!(
        narrow.lacks("its roles in Guild lack: Send Messages,", "permissions=309237763136"),
        "{narrow:?}"
    );

    discord.put_out();
    let outside = ask(&home, "discord");
    assert_eq!(outside.verdict, "lacking");
    let link = "https://discord.com/oauth2/authorize?client_id=4243&scope=bot+applications.commands&permissions=309237763136";
    assert!(outside.lacks("it is in no server", link), "{outside:?}");

    let before = discord.all_calls().len();
    discord.set_token("another");
    let refused = ask(&home, "discord");
    assert_eq!(refused.verdict, "lacking");
    assert!(refused.lacks("the token of the bot is refused", "DISCORD_BOT_TOKEN"), "{refused:?}");
    assert_eq!(routes(&discord, before), ["GET users/@me"], "nothing is asked with a token that is refused");
    for asked in [fine, intent, narrow, outside, refused] {
        assert!(!asked.printed.contains(TOKEN) && !asked.printed.contains(&TOKEN[10..]));
    }
}

#[test]
fn who_is_not_discord_and_who_is_not_there_is_told_apart() {
    let discord = Discord::start();
    let home = house(&discord, "");
    discord.refuse("GET users/@me", (0..4).map(|_| Refusal::page(404)));
    let strange = ask(&home, "discord");
    assert_eq!(strange.verdict, "lacking");
    assert!(strange.lacks("is not Discord", "DISCORD_API_BASE_URL"), "{strange:?}");
    discord.refuse("GET users/@me/guilds", (0..4).map(|_| Refusal::page(503)));
    let broken = ask(&home, "discord");
    assert!(broken.verdict == "unreachable" && broken.message.contains("503"), "{broken:?}");
    assert!(broken.printed.contains("fix: see that this machine reaches the service"), "{broken:?}");
    drop(discord);
    let gone = ask(&home, "discord");
    assert!(gone.verdict == "unreachable" && gone.message.contains("not reached"), "{gone:?}");
    let env = home.read("default", ".env").unwrap();
    home.write(
        "default",
        ".env",
        &env.replace(&format!("DISCORD_BOT_TOKEN={TOKEN}"), "DISCORD_BOT_TOKEN='no token'"),
    );
    let fault = ask(&home, "discord");
    assert!(
        fault.verdict == "not_asked" && fault.message.contains("the token of the discord bot is none"),
        "{fault:?}"
    );
}

/// Whoever is connected hears nothing of it.
#[test]
fn a_bot_that_is_connected_stays_so() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let begun = discord.begun();
    assert_eq!(ask(&home, "discord").verdict, "fine");
    assert_eq!(
        (discord.begun(), discord.overlaps(), connection(&gateway).0.as_str()),
        (begun, 0, "connected")
    );
}
