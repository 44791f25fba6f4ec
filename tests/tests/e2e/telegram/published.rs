//! The tests' own Bot API, shown by a client that people use: what `python-telegram-bot` takes for Telegram is enough of it.

#![expect(clippy::disallowed_methods, reason = "the test starts the client's own interpreter")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use hermes_tests::telegram::{Refusal, TOKEN, Telegram};
use hermes_tests::tools::Clients;
use serde_json::json;

#[test]
fn a_published_client_takes_it_for_telegram() {
    let Some(interpreter) = Clients::Python.interpreter() else { return };
    let telegram = Telegram::start();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/with_telegram.py");
    let mut client = Command::new(interpreter)
        .arg(script)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("BOT_API", telegram.address())
        .env("BOT_TOKEN", TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut stdin = client.stdin.take().unwrap();
    for line in BufReader::new(client.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.as_str() {
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
        }
        said.push(line);
        // Who is gone reads nothing; why is seen below.
        let _ = stdin.write_all(b"done\n");
    }
    let status = client.wait().unwrap();
    assert!(status.success() && said.last().is_some_and(|last| last == "ok"), "{status}: {said:?}");
}
