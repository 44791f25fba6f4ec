//! The tests' own Discord, shown by a client that people use: what `discord.py` takes for Discord is enough of it.

use hermes_tests::discord::{ANN, Discord, GENERAL, MESSAGE_CONTENT, Refusal, TOKEN};
use hermes_tests::tools::Clients;
use hermes_tests::wait;
use serde_json::json;

#[test]
fn a_published_client_takes_it_for_discord() {
    let discord = Discord::start();
    let has_talked = Clients::Discord.talk(
        "with_discord.py",
        &[("DISCORD_API", &discord.address()), ("DISCORD_GATEWAY", &discord.gateway()), ("BOT_TOKEN", TOKEN)],
        |line| match line {
            "do say" => {
                let file = discord.file("a.txt", "text/plain", b"text");
                discord.say_with(GENERAL, ANN, "hello", &json!({"attachments": [file]}));
                discord.tell(ANN, "in private");
            }
            "do slash" => {
                let id = discord.slash(GENERAL, ANN, "status", None);
                wait::until_true("the command's answers", || {
                    discord.interaction(id).followups == ["fine", "more"]
                });
                assert_eq!(discord.interaction(id).callback.unwrap()["type"], 5);
            }
            "do press" => drop(discord.press(GENERAL, ANN, "Yes")),
            "do flood" => {
                discord.refuse("POST messages", [Refusal::flood(0.5, false), Refusal::flood(0.3, true)]);
            }
            "do limit" => discord.limit(5, 1000),
            "do unlimit" => {
                assert_eq!(discord.violations(), 0, "it reads what is left");
                discord.limit(500, 1000);
            }
            "do drop" => {
                discord.cut_all();
                discord.say(GENERAL, ANN, "while away");
            }
            "do invalidate" => discord.invalidate(),
            "do revoke" => discord.revoke(),
            "do disallow" => {
                discord.set_token(TOKEN);
                discord.disallow(MESSAGE_CONTENT);
            }
            _ => {}
        },
    );
    if !has_talked {
        return;
    }
    let heard = discord.seen().into_iter().find(|seen| seen.text == "another answer").unwrap();
    assert!(heard.reply_to.is_some() && discord.begun().0 >= 2 && discord.begun().1 >= 1);
}
