//! WhatsApp: our own bridge under real Node.js, with a stand-in for Baileys below it; and bridges as the Python program has them.

mod checked;
mod old;
mod real;

use std::time::Duration;

use hermes_tests::chats::{self, echo, log};
use hermes_tests::gateway::run;
use hermes_tests::mounts::Disk;
use hermes_tests::whatsapp::{ACCOUNT, NEVER, Servers, chat, link};
use hermes_tests::{Gateway, Home, process, tools, wait};
use nix::sys::signal::Signal;
use serde_json::json;

const ANN: &str = "4911111";
/// Everybody may, and the bot is one.
const OPEN: &str = "WHATSAPP_MODE=bot\nWHATSAPP_ALLOW_ALL_USERS=true\n";

/// State and code of a profile's connection, as status says them.
fn connection_of(gateway: &Gateway<'_>, profile: &str) -> (String, String) {
    chats::connection(gateway, profile, "whatsapp")
}

fn connection(gateway: &Gateway<'_>) -> (String, String) {
    connection_of(gateway, "default")
}

fn wait_connection(gateway: &Gateway<'_>, state: &str, code: &str) {
    wait::until_true(&format!("the connection to be {state} {code}"), || {
        connection(gateway) == (state.to_owned(), code.to_owned())
    });
}

/// Whether there is a Node.js to run the bridge; where there is none, why the test is skipped is said.
fn has_node() -> bool {
    let is_there =
        ["/usr/local/bin/node", "/usr/bin/node"].iter().any(|path| std::path::Path::new(path).exists());
    if !is_there {
        tools::skip("it needs Node.js 20 or newer");
    }
    is_there
}

#[test]
fn who_is_listed_is_answered_and_a_stranger_is_offered_a_code() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(&format!(
        "WHATSAPP_MODE=bot\nWHATSAPP_ALLOWED_USERS=+{ANN}\nWHATSAPP_SEND_READ_RECEIPTS=true\n"
    ));
    home.write("default", "platforms/whatsapp/session/lid-mapping-55600_reverse.json", &format!("\"{ANN}\""));
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let first = servers.say(ANN, "hello **you**");
    // The hidden id of the same person, and another device of his.
    let hidden = json!({"remoteJid": "555@lid", "remoteJidAlt": format!("{ANN}:7@s.whatsapp.net")});
    servers.wait_said(&chat(ANN), &echo("hello *you*"));
    let asked = servers.receive(ACCOUNT, hidden, json!({"extendedTextMessage": {"text": "again", "contextInfo": {"quotedMessage": {"conversation": "before"}}}}));
    let again = servers.wait_said(&chat(ANN), &echo("[Replying to: \"before\"]\n\nagain"));
    assert_eq!((again.chat, again.quoted), (chat(ANN), Some(asked)), "what he wrote under his hidden id");
    // What nobody can read hides nothing.
    let odd = json!({"pollCreationMessage": {"name": "when?", "options": 7}});
    servers.receive(ACCOUNT, json!({"remoteJid": chat(ANN)}), odd);
    // His number is only known to the session.
    let asked =
        servers.receive(ACCOUNT, json!({"remoteJid": "55600:2@lid"}), json!({"conversation": "once more"}));
    let more = servers.wait_said(&chat(ANN), &echo("once more"));
    assert_eq!(more.quoted, Some(asked));
    servers.say("4922222", "let me in");
    wait::until_true("a code", || {
        servers.said().iter().any(|said| said.chat == chat("4922222") && said.text().contains("pairing code"))
    });
    assert!(log(&home).contains("Unauthorized user: 4922222 (Ann) on whatsapp"), "{}", log(&home));
    let quoted = servers
        .said()
        .into_iter()
        .find(|said| said.text() == echo("hello *you*"))
        .and_then(|said| said.quoted);
    assert_eq!(quoted.as_deref(), Some(first.as_str()));
    wait::until_true("it to be shown as read", || servers.read().contains(&first));
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let keys: Vec<String> = db
        .prepare("SELECT DISTINCT session_key FROM sessions WHERE session_key LIKE '%whatsapp%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(keys, [format!("agent:main:whatsapp:dm:{ANN}")], "one person, one session");
    assert_eq!(servers.pids(ACCOUNT).len(), 1, "one bridge");
    gateway.wait_state("default", "ready");
}

/// The bridge has nothing that it has no business with: a few variables, no secret in its arguments, a file for its own user.
#[test]
fn the_bridge_sees_little_and_its_secret_is_nowhere_else() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(&format!("{OPEN}SOME_API_KEY=sk-canary-0123456789\n"));
    let gateway = Gateway::start(&home);
    let pid = servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let (arguments, names) = servers.surroundings(ACCOUNT);
    let known = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE"];
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
    let file = home.of("default").join("platforms/whatsapp/state/bridge.json");
    let reach: serde_json::Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    let secret = reach["secret"].as_str().unwrap().to_owned();
    assert!(secret.len() == 64 && reach["pid"] == pid && !arguments.join(" ").contains(&secret));
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs_err::metadata(&file).unwrap()) & 0o777, 0o600);
    let ask = |host: &str, more: &[(&str, &str)]| {
        let address = format!("127.0.0.1:{}", reach["port"]);
        let headers: Vec<_> = more.iter().copied().chain([("Host", host)]).collect();
        hermes_tests::http::request(&address, "GET", "/health", &headers, b"").unwrap().status
    };
    let bearer = format!("Bearer {secret}");
    assert_eq!(ask("127.0.0.1", &[]), 401);
    assert_eq!(ask("127.0.0.1", &[("Authorization", "Bearer x")]), 401);
    assert_eq!(ask("localhost:1", &[("Authorization", &bearer)]), 200);
    for text in [log(&home), serde_json::to_string(&gateway.status()).unwrap(), gateway.output()] {
        assert!(!text.contains(&secret));
    }
    let status = run(&home, &["whatsapp", "status"]);
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.status.success() && shown.contains("Connection: connected") && !shown.contains(&secret),
        "{shown}"
    );
    drop(gateway);
    assert!(!process::is_alive(pid) && !file.exists());
}

/// Only the owner, to himself; his own answers are no questions.
#[test]
fn a_self_chat_is_the_owners_alone_and_has_no_echo() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house("");
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let to_oneself = || json!({"remoteJid": chat(ACCOUNT), "fromMe": true});
    servers.say(ANN, "not for you");
    servers.receive(
        ACCOUNT,
        json!({"remoteJid": chat(ANN), "fromMe": true}),
        json!({"conversation": "to somebody else"}),
    );
    servers.receive(ACCOUNT, to_oneself(), json!({"conversation": "remember"}));
    let prefix = "⚕ *Hermes Agent*\n────────────\n";
    let said = servers.wait_said(&chat(ACCOUNT), &format!("{prefix}{}", echo("remember")));
    // What the bot said, as another device would show it: by its name, and by how it begins.
    servers.offer(ACCOUNT, "echo-1", json!({"key": {"remoteJid": chat(ACCOUNT), "fromMe": true, "id": said.id}, "message": {"conversation": "x"}, "messageTimestamp": 4_000_000_000_u64}));
    servers.receive(ACCOUNT, to_oneself(), json!({"conversation": said.text()}));
    wait::pass(NEVER);
    servers.receive(ACCOUNT, to_oneself(), json!({"conversation": "and this"}));
    servers.wait_said(&chat(ACCOUNT), &format!("{prefix}{}", echo("and this")));
    assert_eq!(servers.said().len(), 2, "{:?}", servers.said());
    drop(gateway);
}

#[test]
fn groups_are_off_until_they_are_listed_and_then_it_is_spoken_to() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let listed = "WHATSAPP_GROUP_POLICY=allowlist\nWHATSAPP_GROUP_ALLOWED_USERS=1203@g.us,1204@g.us\nWHATSAPP_REQUIRE_MENTION=true\n\
                  WHATSAPP_FREE_RESPONSE_CHATS=1204@g.us\nWHATSAPP_MENTION_PATTERNS=^robot\n";
    let home = servers.house(&format!("WHATSAPP_MODE=bot\nWHATSAPP_ALLOWED_USERS={ANN}\n{listed}"));
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let say = |group: &str, content| {
        servers.receive(ACCOUNT, json!({"remoteJid": group, "participant": chat("4933333")}), content);
    };
    say("1299@g.us", json!({"conversation": "/status"}));
    say("1203@g.us", json!({"conversation": "among people"}));
    say("1204@g.us", json!({"conversation": "free"}));
    servers.wait_said("1204@g.us", &echo("free"));
    let mention = json!({"text": "@4999999 are you there?", "contextInfo": {"mentionedJid": ["4999999@s.whatsapp.net"]}});
    say("1203@g.us", json!({"extendedTextMessage": mention}));
    servers.wait_said("1203@g.us", &echo("are you there?"));
    let hidden = json!({"text": "what?", "contextInfo": {"stanzaId": "x", "participant": "74999999:3@lid", "quotedMessage": {"conversation": "so"}}});
    say("1203@g.us", json!({"extendedTextMessage": hidden}));
    servers.wait_said("1203@g.us", &echo("[Replying to: \"so\"]\n\nwhat?"));
    say("1203@g.us", json!({"conversation": "Robot, and you?"}));
    servers.wait_said("1203@g.us", &echo("Robot, and you?"));
    assert_eq!(servers.said().len(), 4, "{:?}", servers.said());
    drop(gateway);
}

/// Everything at once: a bridge, then a worker, are killed, and the profile is restarted, while people write. Nobody hears nothing, and twice only
/// where that is said.
#[test]
fn killed_bridges_killed_workers_and_swaps_lose_and_double_nothing() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    let first = servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    // Everybody in a chat of their own: a newer message of the same one would interrupt the answer.
    let people: Vec<String> = (0..45).map(|n| format!("4911{n:05}")).collect();
    std::thread::scope(|scope| {
        let disturbed = scope.spawn(|| {
            process::signal(first, Signal::SIGKILL);
            wait::until_true("another bridge", || servers.pids(ACCOUNT).len() >= 2);
            servers.wait_connected(ACCOUNT);
            gateway.kill_worker("default");
            wait::until_true("another worker's bridge", || servers.pids(ACCOUNT).len() >= 3);
            servers.wait_connected(ACCOUNT);
            for _ in 0..2 {
                let swapped = run(&home, &["gateway", "restart"]);
                assert!(swapped.status.success(), "{swapped:?}");
            }
        });
        for person in &people {
            servers.say(person, "hello");
            wait::pass(Duration::from_millis(150));
        }
        disturbed.join().unwrap();
    });
    let answers = |person: &String| -> Vec<String> {
        servers
            .said()
            .iter()
            .filter(|said| said.chat == chat(person))
            .map(hermes_tests::whatsapp::Said::text)
            .collect()
    };
    wait::until_true("everybody to be answered", || people.iter().all(|person| !answers(person).is_empty()));
    wait::pass(NEVER);
    for person in &people {
        let (plain, marked): (Vec<_>, Vec<_>) =
            answers(person).into_iter().partition(|text| *text == echo("hello"));
        assert!(
            plain.len() <= 1
                && marked.iter().all(|text| text.starts_with('♻') && text.ends_with(&echo("hello"))),
            "{person}: {plain:?} {marked:?}"
        );
    }
    assert_eq!(servers.replaced(), 0, "never two bridges on one session");
    assert!(!process::is_alive(first));
}

/// On a full disk the bridge keeps what it has, leaves no half of a record behind, and leaves the rest with WhatsApp until there is room.
#[test]
fn a_full_disk_loses_and_breaks_nothing() {
    if !has_node() {
        return;
    }
    let home = Home::empty();
    let Some(disk) = tools::permitted("a mount, to fill a disk", Disk::mount(&home.root(), 64)) else {
        return;
    };
    let servers = Servers::start();
    home.furnish(&Home::config("true", ""));
    servers.install(&home);
    link(&home, "default", ACCOUNT);
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}WHATSAPP_ENABLED=true\n{OPEN}"));
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    servers.say(ANN, "before");
    servers.wait_said(&chat(ANN), &echo("before"));
    disk.fill();
    // Longer than what is left of a block of the file, and more than one.
    let long = "x".repeat(6000);
    servers.say("4922222", &long);
    servers.say("4933333", "and this");
    wait::pass(Duration::from_millis(600));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    wait::pass(Duration::from_millis(600));
    disk.free();
    servers.wait_said(&chat("4933333"), &echo("and this"));
    wait::until_true("the long one to be answered", || {
        servers.said().iter().any(|said| said.chat == chat("4922222") && said.text().contains("xxx"))
    });
    servers.say(ANN, "behind");
    servers.wait_said(&chat(ANN), &echo("behind"));
    let answers = servers.said().iter().filter(|said| said.chat == chat("4933333")).count();
    assert_eq!(answers, 1, "{:?}", servers.said());
}

/// A bridge whose worker was killed, and which cannot end by itself, is gone before there is another one.
#[test]
fn a_bridge_does_not_outlive_its_worker() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    let pid = servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    process::signal(pid, Signal::SIGSTOP);
    gateway.kill_worker("default");
    wait::until_true("another bridge", || servers.pids(ACCOUNT).len() == 2);
    assert!(!process::is_alive(pid));
    servers.say(ANN, "hello");
    servers.wait_said(&chat(ANN), &echo("hello"));
    assert_eq!(servers.replaced(), 0, "never two bridges on one session");
}

/// A bridge that dies is named and started again; messages that it had and nobody took are there.
#[test]
fn a_dead_bridge_is_named_and_started_again() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    let pid = servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    process::signal(pid, Signal::SIGKILL);
    wait_connection(&gateway, "retrying", "whatsapp_bridge_exited");
    servers.say(ANN, "while it was away");
    servers.wait_said(&chat(ANN), &echo("while it was away"));
    assert_ne!(servers.wait_connected(ACCOUNT), pid);
    wait_connection(&gateway, "connected", "");
}

/// `connected` is WhatsApp's.
#[test]
fn a_bridge_without_whatsapp_is_not_connected() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    servers.go_away();
    wait_connection(&gateway, "retrying", "whatsapp_network_error");
    gateway.wait_state("default", "degraded");
}

/// After the end of a session nothing is asked any more, and it is said what helps.
#[test]
fn a_session_that_was_ended_is_fatal_and_so_is_none() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    let pid = servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    servers.close(ACCOUNT, 401);
    wait_connection(&gateway, "fatal", "whatsapp_logged_out");
    wait::until_true("the bridge to be gone", || !process::is_alive(pid));
    wait::pass(NEVER);
    assert_eq!(servers.pids(ACCOUNT).len(), 1);
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "whatsapp_not_paired");
    let found = gateway.profile("default").platforms["whatsapp"].clone();
    assert!(found.error_message.unwrap_or_default().contains("hermes whatsapp pair"));
    assert_eq!(servers.pids(ACCOUNT).len(), 1);
}

/// Another program with the same session is not fought with.
#[test]
fn a_session_that_is_used_elsewhere_is_left_alone_for_a_while() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    servers.close(ACCOUNT, 440);
    wait_connection(&gateway, "retrying", "whatsapp_session_replaced");
    wait::pass(NEVER * 2);
    assert_eq!(servers.pids(ACCOUNT).len(), 1);
}

#[test]
fn two_profiles_have_a_bridge_each_and_what_is_missing_is_named() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    home.write("coder", ".env", &format!("{env}WHATSAPP_ENABLED=true\n{OPEN}"));
    link(&home, "coder", "4988888");
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    servers.wait_connected("4988888");
    servers.say(ANN, "hello default");
    servers.receive("4988888", json!({"remoteJid": chat(ANN)}), json!({"conversation": "hello coder"}));
    assert_eq!(servers.wait_said(&chat(ANN), &echo("hello default")).account, ACCOUNT);
    assert_eq!(servers.wait_said(&chat(ANN), &echo("hello coder")).account, "4988888");
    // One that dies is nobody else's matter.
    let others = servers.pids(ACCOUNT);
    process::signal(servers.wait_connected("4988888"), Signal::SIGKILL);
    wait::until_true("coder's bridge to be back", || servers.pids("4988888").len() == 2);
    assert_eq!(servers.pids(ACCOUNT), others);
    drop(gateway);
    fs_err::remove_dir_all(home.root().join("platforms/whatsapp/bridge")).unwrap();
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "whatsapp_bridge_missing");
    assert_eq!(connection_of(&gateway, "coder").1, "whatsapp_bridge_missing");
}

/// What is on the port, or on the session, is named and lives on.
#[test]
fn programs_that_were_not_started_here_are_named_and_left_alone() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let theirs = hermes_tests::whatsapp::Bridge::start();
    let home = servers.house(OPEN);
    let config = Home::config("true", "").replacen(
        "platforms:\n",
        &format!("platforms:\n  whatsapp: {{bridge_port: {}}}\n", theirs.port()),
        1,
    );
    home.write("default", "config.yaml", &config);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "whatsapp_port_in_use");
    let said = gateway.profile("default").platforms["whatsapp"].error_message.clone().unwrap_or_default();
    assert!(
        said.contains("that this gateway did not start") && said.contains(&theirs.port().to_string()),
        "{said}"
    );
    drop(theirs);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    drop(gateway);
    // A bridge of the Python program on the same session: by its file, as long as its process lives.
    home.write("default", "config.yaml", &Home::config("true", ""));
    #[expect(clippy::disallowed_methods, reason = "it stands for a program of somebody else's")]
    let mut other = std::process::Command::new("sh")
        .args(["-c", "read x", "bridge.js"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    home.write("default", "platforms/whatsapp/session/bridge.pid", &other.id().to_string());
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "whatsapp_bridge_running");
    let said = gateway.profile("default").platforms["whatsapp"].error_message.clone().unwrap_or_default();
    assert!(said.contains(&format!("process {}", other.id())), "{said}");
    assert!(other.try_wait().unwrap().is_none(), "it was left alone");
    other.kill().unwrap();
    other.wait().unwrap();
    wait_connection(&gateway, "connected", "");
}

/// A file comes by the bridge's directory into the profile's, and what is too large is said.
#[test]
fn files_are_kept_in_the_profiles_home() {
    use base64::Engine as _;
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(&format!("{OPEN}GATEWAY_X=1\n"));
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let bytes: Vec<u8> = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 600_000]].concat();
    let part = |more: serde_json::Value| {
        let mut part = json!({"caption": "look", "mimetype": "image/png", "fileLength": bytes.len().to_string(), "bytes": base64::engine::general_purpose::STANDARD.encode(&bytes)});
        for (key, value) in more.as_object().unwrap() {
            part[key] = value.clone();
        }
        json!({"imageMessage": part})
    };
    servers.receive(ACCOUNT, json!({"remoteJid": chat(ANN)}), part(json!({})));
    wait::until_true("an answer about the file", || {
        servers.said().iter().any(|said| said.text().contains("image.png") && said.text().contains("look"))
    });
    let images = home.of("default").join("cache/images");
    let kept = fs_err::read_dir(&images).unwrap().flatten().next().unwrap().path();
    assert_eq!(fs_err::read(kept).unwrap(), bytes);
    let media = home.of("default").join("platforms/whatsapp/state/media");
    wait::until_true("the bridge's own copy to be gone", || {
        fs_err::read_dir(&media).unwrap().next().is_none()
    });
    servers.receive(ACCOUNT, json!({"remoteJid": chat("4922222")}), part(json!({"isGone": true})));
    wait::until_true("a missing file to be said", || {
        servers
            .said()
            .iter()
            .any(|said| said.chat == chat("4922222") && said.text().contains("could not be fetched"))
    });
    drop(gateway);
}

#[test]
fn long_answers_come_in_parts_and_what_may_be_there_already_is_marked() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(&format!("{OPEN}WHATSAPP_CHUNK_DELAY_MS=50\nWHATSAPP_SEND_TIMEOUT_MS=1000\n"));
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    servers.say(ANN, &"and so on, ".repeat(700));
    wait::until_true("a long answer in parts", || servers.said().len() >= 2);
    wait::pass(NEVER);
    assert!(servers.said().iter().all(|said| said.text().chars().count() <= 4096));
    let before = servers.said().len();
    servers.lose_the_answer();
    servers.say("4922222", "hello");
    wait::until_true("the answer to come again", || servers.said().len() >= before + 2);
    let twice: Vec<_> = servers.said().into_iter().filter(|said| said.chat == chat("4922222")).collect();
    assert_eq!(twice[0].text(), echo("hello"));
    assert!(twice[1].text().starts_with("♻️") && twice[1].text().ends_with(&echo("hello")), "{twice:?}");
    assert_eq!(twice[0].id, twice[1].id, "who gets it twice can tell");
    // A chat that is gone is not tried again.
    servers.refuse(403, "forbidden");
    servers.say("4933333", "gone");
    servers.say("4944444", "here");
    servers.wait_said(&chat("4944444"), &echo("here"));
    wait::pass(NEVER);
    assert!(servers.said().iter().all(|said| said.chat != chat("4933333")));
    drop(gateway);
}
