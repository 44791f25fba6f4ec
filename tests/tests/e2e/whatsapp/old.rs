//! Bridges that are not ours: at an address, and as a script.

use hermes_tests::whatsapp::{Bridge, NEVER, Way};
use hermes_tests::{Gateway, Home, home, process, wait};
use serde_json::json;

use super::{ANN, echo, has_node, log, wait_connection};

/// A home whose default profile speaks through a bridge; `more` goes into its `.env`.
fn house(bridge: &Bridge, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    let env = format!("API_SERVER_KEY={}\n{}{more}", home::DEFAULT_KEY, bridge.env());
    home.write("default", ".env", &env);
    home
}

#[test]
fn a_bridge_at_an_address_is_used_and_its_failures_are_told_apart() {
    let bridge = Bridge::start();
    bridge.want("s3cret-of-the-bridge");
    let home = house(
        &bridge,
        &format!("WHATSAPP_BRIDGE_SECRET=s3cret-of-the-bridge\nWHATSAPP_ALLOWED_USERS={ANN}\n"),
    );
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "connected", "");
    bridge.say(ANN, "hello");
    bridge.wait_text(ANN, &echo("hello"));
    // Not sent, certainly; sent later, once and without a mark.
    bridge.fail("send", Way::Slower(1));
    bridge.say(ANN, "slower");
    bridge.wait_text(ANN, &echo("slower"));
    bridge.fail("send", Way::Status(503, "Not connected to WhatsApp".into()));
    bridge.say(ANN, "away");
    wait::until_true("it to be sent again", || {
        bridge.texts(ANN).iter().filter(|text| **text == echo("away")).count() == 2
    });
    // Perhaps sent: it says so when it comes again.
    for way in [Way::Cut, Way::Half, Way::Garbled] {
        let text = format!("{way:?}");
        bridge.fail("send", way);
        bridge.say(ANN, &text);
        wait::until_true("it to come again with a mark", || {
            bridge.texts(ANN).iter().any(|said| said.starts_with('♻') && said.ends_with(&echo(&text)))
        });
    }
    // Never as it is: without its signs once more, as in 0.19.0, and when that is refused too not again.
    for _ in 0..2 {
        bridge.fail("send", Way::Status(400, "no".into()));
    }
    bridge.say(ANN, "refused");
    bridge.say(ANN, "last");
    bridge.wait_text(ANN, &echo("last"));
    let refused = echo("refused");
    let all: Vec<String> = bridge.texts(ANN).into_iter().filter(|text| text.contains("refused")).collect();
    assert_eq!(all, [refused.clone(), format!("(Response formatting failed, plain text:)\n\n{refused}")]);
    for text in [log(&home), serde_json::to_string(&gateway.status()).unwrap()] {
        assert!(!text.contains("s3cret-of-the-bridge"), "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_bridge_at_an_address_is_named() {
    let bridge = Bridge::start();
    bridge.be("connecting");
    let home = house(&bridge, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "whatsapp_network_error");
    bridge.be("connected");
    wait_connection(&gateway, "connected", "");
    // A cut, an error and nonsense are losses, and it comes back by itself.
    for way in [Way::Cut, Way::Status(500, "oops".into()), Way::Garbled] {
        bridge.fail("messages", way);
        wait_connection(&gateway, "retrying", "whatsapp_network_error");
        wait_connection(&gateway, "connected", "");
    }
    bridge.be("disconnected");
    wait_connection(&gateway, "retrying", "whatsapp_network_error");
    drop(gateway);
    bridge.be("connected");
    bridge.want("another secret");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "whatsapp_invalid_auth");
    drop(gateway);
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &env.replace("http://127.0.0.1", "http://bridge.example"));
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "whatsapp_config_missing");
}

#[test]
fn odd_messages_and_files_outside_the_cache_hold_up_nobody() {
    let bridge = Bridge::start();
    let home = house(&bridge, "WHATSAPP_ALLOW_ALL_USERS=true\n");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "connected", "");
    let chat = hermes_tests::whatsapp::chat(ANN);
    bridge.receive(&json!({"chatId": chat, "body": 7}));
    bridge.receive(&json!({"chatId": chat, "senderId": "x".repeat(300), "body": "PRIVATE"}));
    let secret = home.of("default").join(".env");
    let file = json!({"chatId": chat, "senderId": chat, "body": "see", "hasMedia": true, "mediaType": "document", "fileName": "a.txt", "mediaUrls": [secret]});
    bridge.receive(&file);
    wait::until_true("the message without the file", || {
        bridge.texts(ANN).iter().any(|text| text.contains("a.txt") && text.contains("could not be fetched"))
    });
    assert!(!bridge.texts(ANN).concat().contains(home::DEFAULT_KEY));
    bridge.receive(&json!({"chatId": "status@broadcast", "senderId": chat, "body": "news"}));
    bridge.receive(&json!({"chatId": chat, "senderId": chat, "body": "owner", "fromOwner": true}));
    bridge.say(ANN, "still here");
    bridge.wait_text(ANN, &echo("still here"));
    wait::pass(NEVER);
    assert_eq!(bridge.texts(ANN).len(), 2, "{:?}", bridge.texts(ANN));
    assert!(!log(&home).contains("PRIVATE"));
    drop(gateway);
}

/// 0.19.0's arguments, a port of its own, and its end by its handle.
#[test]
fn a_script_of_the_user_s_own_is_started_as_the_python_program_starts_it() {
    if !has_node() {
        return;
    }
    let home = Home::with_config(&Home::config("true", ""));
    hermes_tests::whatsapp::link(&home, "default", "4999999");
    let script = r"
        const fs = require('fs'), http = require('http'), a = process.argv, arg = n => a[a.indexOf('--' + n) + 1]
        fs.writeFileSync(arg('session') + '/seen.json', JSON.stringify({ pid: process.pid, argv: a.slice(2), env: Object.keys(process.env) }))
        let queue = [{ messageId: 'A1', chatId: '4911111@s.whatsapp.net', senderId: '4911111@s.whatsapp.net', body: 'hello', botIds: [], mediaUrls: [] }]
        http.createServer((q, s) => {
            let body = ''
            q.on('data', d => (body += d)).on('end', () => {
                const end = v => s.end(JSON.stringify(v))
                if (q.url === '/health') return end({ status: 'connected' })
                if (q.url === '/messages') return end(queue.splice(0))
                if (q.url === '/send') fs.appendFileSync(arg('session') + '/sent', body + '\n')
                end({ success: true, messageId: 'B1' })
            })
        }).listen(Number(arg('port')), '127.0.0.1')
    ";
    home.write("default", "own-bridge.js", script);
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}WHATSAPP_ENABLED=true\nWHATSAPP_MODE=bot\nWHATSAPP_ALLOW_ALL_USERS=true\nSOME_API_KEY=sk-canary-0123456789\n"));
    let config = Home::config("true", "").replacen(
        "platforms:\n",
        "platforms:\n  whatsapp: {extra: {bridge_script: own-bridge.js}}\n",
        1,
    );
    home.write("default", "config.yaml", &config);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "connected", "");
    let read = |name: &str| home.read("default", &format!("platforms/whatsapp/session/{name}"));
    wait::until_true("an answer", || read("sent").is_some_and(|sent| sent.contains(&echo("hello"))));
    let seen: serde_json::Value = serde_json::from_str(&read("seen.json").unwrap()).unwrap();
    let words: Vec<&str> =
        seen["argv"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
    assert_eq!(
        (words[0], words[2], words[4], words[5]),
        ("--port", "--session", "--mode", "bot"),
        "{words:?}"
    );
    assert_ne!(words[1], "0");
    assert!(!seen["env"].to_string().contains("API_KEY"), "{seen}");
    let pid = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
    process::signal(pid, nix::sys::signal::Signal::SIGKILL);
    wait_connection(&gateway, "retrying", "whatsapp_bridge_exited");
    wait_connection(&gateway, "connected", "");
    drop(gateway);
    assert!(!process::is_alive(pid));
}
