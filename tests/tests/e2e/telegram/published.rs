//! The tests' own Bot API, shown by a client that people use: what `python-telegram-bot` takes for Telegram is enough of it.

use hermes_tests::telegram::{Refusal, TOKEN, Telegram};
use hermes_tests::tools::Clients;
use serde_json::json;

#[test]
fn a_published_client_takes_it_for_telegram() {
    let telegram = Telegram::start();
    Clients::Python.talk(
        "with_telegram.py",
        &[("BOT_API", &telegram.address()), ("BOT_TOKEN", TOKEN)],
        |line| match line {
            "do say" => {
                telegram.say(777, "hello");
                telegram.attach(777, "document", "a.txt", b"text", &json!({}));
            }
            "do press" => drop(telegram.press(777, 777, "Yes")),
            "do block" => {
                telegram.say(888, "I go");
                telegram.block(888);
            }
            "do flood" => telegram.refuse("sendMessage", [Refusal::flood(7)]),
            "do webhook" => telegram.set_webhook("https://elsewhere.example/"),
            "do stick" => telegram.stick("sendMessage", true),
            _ => {}
        },
    );
}
