//! Agents that misbehave: each ends its turn with a reason, and nothing else.

use super::*;

#[tokio::test]
async fn one_that_cannot_start_says_why() {
    let place = Place::new();
    for (mode, fault, expected) in [
        ("die", Fault::Unreachable, "ended (exit status: 3); it said: no such model / for lack of a key"),
        ("garbage", Fault::Unreachable, "writes something else than the Agent Client Protocol"),
        ("old", Fault::Setup, "unsupported ACP protocol version 7"),
    ] {
        let engine = place.engine(&place.config(&[mode]));
        let ran = ask(&engine, "say x").await;
        let (found, message) = ran.fault();
        assert!(message.contains(expected) && found == fault, "{mode}: {found:?} {message}");
        engine.close().await;
    }
    let mut config = place.config(&["mute"]);
    config.agent.acp.start_timeout = Duration::from_millis(300);
    let engine = place.engine(&config);
    let ran = ask(&engine, "say x").await;
    assert!(ran.fault().1.contains("`agent.acp.start_timeout` gives it more"), "{}", ran.fault().1);
    engine.close().await;
    config.agent.acp.command = vec!["no-such-agent".to_owned()];
    let engine = place.engine(&config);
    let ran = ask(&engine, "say x").await;
    assert_eq!(ran.fault().0, Fault::Setup);
    assert!(
        ran.fault().1.contains("no program `no-such-agent` in PATH (/usr/local/bin"),
        "{}",
        ran.fault().1
    );
    engine.close().await;
}

#[tokio::test]
async fn one_that_dies_in_a_turn_ends_it_and_is_started_again() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "tool a\ncrash").await;
    let (fault, message) = ran.fault();
    assert_eq!(fault, Fault::Unreachable);
    assert!(message.contains("signal: 9") && message.contains("going down"), "{message}");
    assert!(!message.contains("secretsecret"), "{message}");
    assert_eq!(ran.steps, ["calls call-a", "done a!"], "a finished step stays");
    // The turn goes on where it was.
    let call =
        json!({"id": "call-a", "type": "function", "function": {"name": "execute", "arguments": "{}"}});
    let mut prompt = asking(&[(Role::User, "tool a\ncrash")]);
    prompt.messages.push(Message { tool_calls: vec![call], ..Message::new(Role::Assistant, json!("")) });
    prompt.messages.push(Message::result("call-a", "execute", "done a".to_owned()));
    let ran = run(&engine, &prompt).await;
    assert_eq!(ran.text(), "went on");
    let told = place.log().iter().find(|line| line["what"] == "again").unwrap()["told"].to_string();
    assert!(told.contains("(result of execute) done a"), "{told}");
    assert_eq!(place.count("start"), 2);
    engine.close().await;
}

#[tokio::test]
async fn one_that_says_nothing_is_given_up() {
    let place = Place::new();
    let mut config = place.config(&[]);
    config.agent.gateway_timeout = Duration::from_millis(400);
    let engine = place.engine(&config);
    let ran = ask(&engine, "hang").await;
    assert!(ran.fault().1.contains("said nothing for"), "{}", ran.fault().1);
    place.wait_for("session/cancel").await;
    assert_eq!(ask(&engine, "say on").await.text(), "on");
    assert_eq!(place.count("start"), 1);
    engine.close().await;
}

#[tokio::test]
async fn one_that_floods_is_stopped() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "flood").await;
    assert_eq!(ran.fault().0, Fault::Request);
    assert!(ran.fault().1.contains("is stopped: "), "{}", ran.fault().1);
    engine.close().await;
}

#[tokio::test]
async fn noise_and_long_lines_are_left_out() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "noise\nlong\nsay still here").await;
    assert_eq!(ran.text(), "still here");
    engine.close().await;
}

#[tokio::test]
async fn errors_are_told_by_kind_and_do_not_count_as_asked() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "error -32603 429 rate limit reached").await;
    assert_eq!(ran.fault().0, Fault::Limited, "{}", ran.fault().1);
    let ran = ask(&engine, "error -32602 bad").await;
    assert_eq!(ran.fault().0, Fault::Request);
    let ran = ask(&engine, "refuse").await;
    assert!(ran.fault().1.contains("refuses to answer"), "{}", ran.fault().1);
    let ran = ask(&engine, "usage").await;
    assert_eq!(ran.fault().0, Fault::Empty);
    engine.close().await;
}

#[tokio::test]
async fn one_that_cannot_start_is_not_started_over_and_over() {
    let place = Place::new();
    let engine = place.engine(&place.config(&["die"]));
    for _ in 0..2 {
        ask(&engine, "say x").await;
    }
    // 1 s and 2 s are waited for; 4 s are not.
    ask(&engine, "say x").await;
    let ran = ask(&engine, "say x").await;
    assert_eq!(place.count("start"), 3);
    match ran.result.unwrap_err() {
        EngineError::Provider { retry_after: Some(wait), message, .. } => {
            assert!(wait <= Duration::from_secs(4) && message.contains("started again in"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    engine.close().await;
}
