//! D11: profiles that are answered by another agent, over the Agent Client Protocol: real processes, and an agent that does what it is told.

mod real;

use hermes_tests::agent::Agent;
use hermes_tests::chat::Chat;
use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use rusqlite::Connection;

fn house(agent: impl Fn(&Home) -> String) -> Home {
    let home = Home::empty();
    let section = agent(&home);
    let config = Home::config("true", "").replacen("engine: echo", &section, 1);
    home.furnish(&config);
    home
}

/// A home whose default profile is answered by the agent, with more settings of the engine.
fn with_agent(more: &str) -> (Home, Agent) {
    let home = house(|home| Agent::new(home, "default").section(more));
    let agent = Agent::new(&home, "default");
    (home, agent)
}

fn database(home: &Home) -> Connection {
    let db = Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}

/// Rows of the conversation: role, text, ids of calls or the call that it answers.
fn rows(home: &Home) -> Vec<(String, String, String)> {
    let db = database(home);
    let mut select = db
        .prepare(
            "select role, coalesce(content, ''), coalesce(json_extract(tool_calls, '$[0].id'), tool_call_id, '')
             from messages where role <> 'session_meta' and active = 1 order by id",
        )
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn row(role: &str, text: &str, call: &str) -> (String, String, String) {
    (role.to_owned(), text.to_owned(), call.to_owned())
}

fn hook(gateway: &Gateway<'_>, id: &str, text: &str) {
    let body = serde_json::json!({"text": text}).to_string();
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, id, &body).status, 202);
}

/// It answers, its history is kept like any other, it sees no secret that it was not given, and it ends with the gateway.
#[test]
fn d11_another_agent_answers_for_a_profile() {
    let (home, agent) = with_agent(", env: [NAMED_KEY]");
    let env = format!("API_SERVER_KEY={}\nNAMED_KEY=n-1\nOTHER_KEY=o-1\n", home::DEFAULT_KEY);
    home.write("default", ".env", &env);
    home.write("default", "SOUL.md", "You are the soul of this test.");
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.profile("default").state, "ready");
    assert!(agent.log().is_empty(), "nothing is started before it is needed");
    let answer = gateway.chat("", home::DEFAULT_KEY, "say I look\ntool a\nsay It is 4\nusage");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "It is 4");
    assert_eq!(answer["usage"]["total_tokens"], 30);
    let expected = [
        row("user", "say I look\ntool a\nsay It is 4\nusage", ""),
        row("assistant", "I look", "call-a"),
        row("tool", "done a", "call-a"),
        row("assistant", "It is 4", ""),
    ];
    assert_eq!(rows(&home), expected);
    let (model, calls): (String, i64) = database(&home)
        .query_row("select model, tool_call_count from sessions", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((model.as_str(), calls), ("python3", 1));
    let told = agent.said("session/prompt")[0]["params"]["prompt"][0]["text"].as_str().unwrap().to_owned();
    assert!(told.contains("You are the soul of this test."), "{told}");
    let environment = gateway.chat("", home::DEFAULT_KEY, "env").text();
    assert!(environment.contains("NAMED_KEY") && environment.contains("n-1"), "{environment}");
    for secret in ["OTHER_KEY", "o-1", home::DEFAULT_KEY, home::SECRET] {
        assert!(!environment.contains(secret), "{secret}");
    }
    let pid = agent.pid();
    assert!(process::family(gateway.worker("default")).contains(&pid));
    assert_eq!(gateway.stop(), Some(0));
    assert!(!process::is_alive(pid));
    assert_eq!(agent.said("end").len(), 1, "it had the time to end by itself");
    gateway.assert_nothing_left();
}

/// The profile's tool servers are handed on, with what their entries give them; what cannot be is named where people look.
#[test]
fn d11_tool_servers_are_handed_on() {
    let servers = "mcp_servers:\n  \
        files: {command: python3, args: [-m, files, '${NAMED_KEY}'], env: {TOKEN: '${NAMED_KEY}', OUT: '${HOME}'}}\n  \
        far: {url: 'https://far.example/mcp', headers: {Authorization: 'Bearer ${NAMED_KEY}'}}\n  \
        few: {command: python3, tools: {include: [read]}}\n  \
        gone: {command: no-such-program}\n  \
        off: {command: python3, enabled: false}\n";
    for takes_http in [true, false] {
        let mode = if takes_http { ", http" } else { "" };
        let home = house(|home| {
            Agent::new(home, "default").section("").replace("agent.py]", &format!("agent.py{mode}]"))
        });
        let agent = Agent::new(&home, "default");
        let config = home.read("default", "config.yaml").unwrap();
        home.write("default", "config.yaml", &format!("{config}{servers}"));
        home.write("default", ".env", &format!("API_SERVER_KEY={}\nNAMED_KEY=n-1\n", home::DEFAULT_KEY));
        let gateway = Gateway::start(&home);
        let checked = both(&run(&home, &["gateway", "check"]));
        assert!(checked.contains("`mcp_servers.few` is not handed on to the agent"), "{checked}");
        assert_eq!(gateway.chat("", home::DEFAULT_KEY, "say hi").status, 200);
        let given = agent.said("session/new")[0]["params"]["mcpServers"].clone();
        let given: Vec<serde_json::Value> = given.as_array().unwrap().clone();
        let files = given.iter().find(|server| server["name"] == "files").unwrap();
        assert!(files["command"].as_str().unwrap().ends_with("/python3"), "{files}");
        assert_eq!(files["args"], serde_json::json!(["-m", "files", "n-1"]));
        // A variable of the gateway's own surroundings is none of the profile's.
        assert!(!files.to_string().contains(home.user().as_str()), "{files}");
        assert!(
            files["env"].as_array().unwrap().contains(&serde_json::json!({"name": "TOKEN", "value": "n-1"}))
        );
        let far = given.iter().find(|server| server["name"] == "far");
        assert_eq!(far.is_some(), takes_http, "{given:?}");
        if let Some(far) = far {
            assert_eq!(far["type"], "http");
            assert_eq!(far["headers"][0]["value"], "Bearer n-1");
        }
        assert_eq!(given.len(), if takes_http { 2 } else { 1 }, "{given:?}");
        let named = wait::until("the servers to be named", || {
            let servers = gateway.profile("default").tool_servers;
            (servers.len() == 5 && servers["files"].state == "handed_on").then_some(servers)
        });
        let reason = |name: &str| named[name].reason.clone().unwrap_or_default();
        assert!(reason("few").contains("no word for `tools`") && reason("gone").contains("no-such-program"));
        assert_eq!(reason("far").contains("no servers by HTTP"), !takes_http);
        assert_eq!(named["off"].state, "off");
        let shown = both(&run(&home, &["status"]));
        assert!(shown.contains("tool server gone unusable: it is not handed on to the agent: "), "{shown}");
        assert!(!shown.contains("n-1"), "{shown}");
        // A session that is loaded again is given them again.
        if takes_http {
            hook(&gateway, "d1", "hi\nslow go");
            agent.wait_for("tool", 1);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            agent.wait_for("session/load", 1);
            let again = agent.said("session/load")[0]["params"]["mcpServers"].clone();
            assert_eq!(again.as_array().unwrap().len(), 2, "{again}");
        }
    }
}

/// A worker that is killed leaves no agent behind, and the turn goes on in the next one: what is done is told, and not done again.
#[test]
fn d11_a_turn_goes_on_after_its_worker_was_killed() {
    for forgets in [false, true] {
        let mode = if forgets { ", forgetful" } else { "" };
        let home = house(|home| {
            Agent::new(home, "default").section("").replace("agent.py]", &format!("agent.py{mode}]"))
        });
        let agent = Agent::new(&home, "default");
        let gateway = Gateway::start(&home);
        hook(&gateway, "d1", "hi\ntool a\nslow go");
        wait::until_true("the second call to be kept", || {
            rows(&home).iter().any(|(role, _, call)| role == "assistant" && call == "call-slow")
        });
        let (worker, pid) = (gateway.worker("default"), agent.pid());
        process::signal(worker, Signal::SIGKILL);
        wait::until_true("the agent to be gone", || !process::is_alive(pid));
        wait::until_true("the turn to be answered", || {
            rows(&home).last().is_some_and(|last| *last == row("assistant", "went on", ""))
        });
        let again = agent.said("again");
        let told = again[0]["told"].to_string();
        assert!(told.contains("done a") && told.contains("result is unknown"), "{told}");
        let tools: Vec<_> = agent.said("tool").iter().map(|line| line["name"].clone()).collect();
        assert_eq!(tools, ["a", "slow"]);
        let loads = agent.said("session/load").len();
        assert_eq!((loads, again.len()), (usize::from(!forgets), 1));
    }
}

/// An agent that dies in a turn is started again, and the message is answered later.
#[test]
fn d11_an_agent_that_dies_is_started_again() {
    let (home, agent) = with_agent("");
    let gateway = Gateway::start(&home);
    hook(&gateway, "d1", "hi\ntool a\nwait go");
    agent.wait_for("tool", 1);
    wait::until_true("the result to be kept", || rows(&home).iter().any(|row| row.1 == "done a"));
    process::signal(agent.pid(), Signal::SIGKILL);
    let profile = gateway.wait_state("default", "degraded");
    let error = profile.last_error.expect("the reason");
    assert_eq!(error.class, "unreachable");
    assert!(error.message.contains("the agent `python3` ended (signal: 9 (SIGKILL))"), "{}", error.message);
    wait::until_true("the turn to be answered", || {
        rows(&home).last().is_some_and(|last| *last == row("assistant", "went on", ""))
    });
    gateway.wait_state("default", "ready");
    assert_eq!(agent.said("tool").len(), 1);
}

/// A newer message ends what runs; the agent is told, and goes on in its session.
#[test]
fn d11_a_newer_message_cancels_the_turn_at_the_agent() {
    let chat = Chat::start();
    let home = busy(&chat, "interrupt");
    let agent = Agent::new(&home, "default");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "hang");
    agent.wait_for("session/prompt", 1);
    chat.say("ann", "ann", "say two");
    chat.wait_seen("ann", "two");
    assert_eq!((agent.said("session/cancel").len(), agent.said("session/new").len()), (1, 1));
    let seen = chat.seen_in("ann");
    assert!(
        seen.len() == 2 && seen[0].starts_with("⚡ Interrupting current task") && seen[1] == "two",
        "{seen:?}"
    );
}

/// What cannot be put into a turn of the agent has a turn of its own.
#[test]
fn d11_a_message_that_is_to_steer_waits_for_its_turn() {
    let chat = Chat::start();
    let home = busy(&chat, "steer");
    let agent = Agent::new(&home, "default");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "slow go\nsay one");
    agent.wait_for("tool", 1);
    chat.say("ann", "ann", "say two");
    wait::until_true("the second message to wait", || {
        let queued = "select count(*) from hermes_inbox where state = 'queued'";
        database(&home).query_row(queued, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    });
    home.write("default", "workspace/go", "");
    chat.wait_seen("ann", "two");
    let seen = chat.seen_in("ann");
    assert!(seen.len() == 3 && seen[0].starts_with("⏳ Queued for the next turn"), "{seen:?}");
    assert_eq!(seen[1..], ["one", "two"]);
}

/// Whoever wrote is asked whether the agent may do what it wants to do.
#[test]
fn d11_what_the_agent_wants_to_do_is_asked_in_the_chat() {
    let chat = Chat::start();
    let home = busy(&chat, "queue");
    let agent = Agent::new(&home, "default");
    let gateway = Gateway::start(&home);
    for (answer, outcome) in
        [("/approve", "answer: yes"), ("/approve session", "answer: always"), ("/deny", "answer: no")]
    {
        let before = chat.seen_in("ann").len();
        chat.say("ann", "ann", "ask");
        let question = wait::until("the question", || chat.seen_in("ann").get(before).cloned());
        assert!(question.contains("Remove everything") && question.contains("/deny"), "{question}");
        chat.say("ann", "ann", answer);
        chat.wait_seen("ann", outcome);
    }
    assert_eq!(agent.said("session/prompt").len(), 3);
    // Nobody can be asked where a webhook asks.
    hook(&gateway, "d1", "x\nask");
    wait::until_true("the answer", || rows(&home).iter().filter(|row| row.1 == "answer: no").count() == 2);
}

fn busy(chat: &Chat, mode: &str) -> Home {
    let home = Home::empty();
    let section = Agent::new(&home, "default").section("");
    let config = Home::config("true", "").replacen("engine: echo", &section, 1).replacen(
        "platforms:\n",
        &format!("platforms:\n  {}\n", chat.section("")),
        1,
    );
    home.write("default", "config.yaml", &format!("{config}display: {{busy_input_mode: {mode}}}\n"));
    let env = format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

/// Ready means able: a profile whose agent is not there is degraded and says why, to whoever looks, and ready when it is there.
#[test]
fn d11_a_profile_whose_agent_is_missing_is_degraded() {
    let home = house(|_| "engine: acp, acp: {command: [no-such-agent]}".to_owned());
    let gateway = Gateway::start(&home);
    let profile = gateway.wait_state("default", "degraded");
    let reason = profile.reason.expect("a reason");
    assert!(reason.contains("there is no program `no-such-agent` in PATH"), "{reason}");
    let checked = both(&run(&home, &["gateway", "check"]));
    assert!(checked.contains("no-such-agent") && checked.contains("fix: Install it"), "{checked}");
    let answer = gateway.chat("", home::DEFAULT_KEY, "say x");
    assert!(answer.status >= 400 && answer.text().contains("no-such-agent"), "{}", answer.text());
    let section = Agent::new(&home, "default").section("");
    home.furnish(&Home::config("true", "").replacen("engine: echo", &section, 1));
    gateway.wait_ready("default");
    wait::until_true("the agent to answer", || gateway.chat("", home::DEFAULT_KEY, "say x").status == 200);
    home.furnish(&Home::config("true", "").replacen("engine: echo", "engine: acp", 1));
    let profile = gateway.wait_state("default", "degraded");
    assert!(profile.reason.is_some_and(|reason| reason.contains("`agent.acp.command` names no program")));
}

/// A changed file swaps the worker: what runs is finished by the old one, and its agent ends with it.
#[test]
fn d11_a_swap_lets_the_old_agent_finish() {
    let (home, agent) = with_agent("");
    let gateway = Gateway::start(&home);
    hook(&gateway, "d1", "one\nslow go\nsay done");
    agent.wait_for("tool", 1);
    let (worker, pid) = (gateway.worker("default"), agent.pid());
    home.write("default", "SOUL.md", "Another soul.");
    let config = home.read("default", "config.yaml").unwrap();
    home.write(
        "default",
        "config.yaml",
        &config.replace("restart_drain_timeout: 5", "restart_drain_timeout: 60"),
    );
    gateway.wait_replaced("default", worker);
    assert_eq!(
        gateway.chat("", home::DEFAULT_KEY, "say new").json()["choices"][0]["message"]["content"],
        "new"
    );
    assert_ne!(agent.pid(), pid);
    home.write("default", "workspace/go", "");
    wait::until_true("the turn to be answered", || rows(&home).iter().any(|row| row.1 == "done"));
    wait::until_true("the old agent to be gone", || !process::is_alive(pid));
    assert_eq!(agent.said("again").len(), 0);
}
