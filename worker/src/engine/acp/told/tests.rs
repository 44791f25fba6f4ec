//! What follows from what agents tell.

use agent_client_protocol::v1::schema::{
    ContentChunk, Diff, PlanEntry, PlanEntryPriority, ToolCallUpdateFields,
};
use proptest::prelude::*;

use super::*;

fn telling(taken: &[&str]) -> Telling {
    let model = ModelId { model: "agent".to_owned(), provider: "acp".to_owned() };
    Telling::new(model, taken.iter().map(|id| (*id).to_owned()).collect(), 100)
}

fn update(json: Value) -> SessionUpdate {
    serde_json::from_value(json).unwrap()
}

fn said(text: &str) -> SessionUpdate {
    SessionUpdate::AgentMessageChunk(ContentChunk::new(text.into()))
}

fn call(id: &str, status: &str) -> SessionUpdate {
    update(
        json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": "Read x", "kind": "read", "status": status}),
    )
}

fn change(id: &str, status: &str, text: &str) -> SessionUpdate {
    let content = json!([{"type": "content", "content": {"type": "text", "text": text}}]);
    update(
        json!({"sessionUpdate": "tool_call_update", "toolCallId": id, "status": status, "content": content}),
    )
}

/// Acts in short: `+id` and `-id` are shown, `[ids]` calls that are kept, `id=text` results, `!` behind the last of a step.
fn short(acts: &[Act]) -> String {
    let one = |act: &Act| match act {
        Act::Show(Event::Delta(text)) => format!("'{text}'"),
        Act::Show(Event::Thought(text)) => format!("({text})"),
        Act::Show(Event::Tool { id, done, .. }) => format!("{}{id}", if *done { '-' } else { '+' }),
        Act::Show(other) => format!("{other:?}"),
        Act::Keep(Step::Calls { message, .. }) => {
            format!(
                "[{}|{}]",
                message.call_ids().collect::<Vec<_>>().join(","),
                message.content.as_str().unwrap()
            )
        }
        Act::Keep(Step::Result { message, is_last }) => format!(
            "{}={}{}",
            message.tool_call_id.as_deref().unwrap(),
            message.content.as_str().unwrap(),
            if *is_last { "!" } else { "" }
        ),
    };
    acts.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn all(telling: &mut Telling, updates: Vec<SessionUpdate>) -> String {
    let acts: Vec<Act> = updates.into_iter().flat_map(|update| telling.on(update).unwrap()).collect();
    short(&acts)
}

#[test]
fn a_call_is_kept_when_it_begins_and_its_result_when_it_is_there() {
    let mut one = telling(&[]);
    let told = all(
        &mut one,
        vec![
            said("I "),
            said("look."),
            call("a", "pending"),
            change("a", "in_progress", ""),
            change("a", "completed", "found"),
            said("Done."),
        ],
    );
    assert_eq!(told, "'I ' 'look.' +a [a|I look.] a=found! -a 'Done.'");
    assert_eq!(one.answer(), "Done.");
}

#[test]
fn calls_beside_one_that_runs_are_kept_when_its_results_are_there() {
    let mut one = telling(&[]);
    let told = all(
        &mut one,
        vec![
            call("a", "in_progress"),
            call("b", "in_progress"),
            call("c", "in_progress"),
            change("c", "completed", "3"),
            change("a", "completed", "1"),
            change("b", "failed", "2"),
        ],
    );
    assert_eq!(told, "+a [a|] +b +c a=1! -a [b,c|] c=3 -c b={\"error\":\"2\"}! -b");
}

#[test]
fn a_call_that_never_begins_is_not_kept_and_one_without_end_gets_a_result() {
    let mut one = telling(&[]);
    assert_eq!(all(&mut one, vec![call("a", "pending")]), "");
    assert_eq!(short(&one.end()), "");
    let mut one = telling(&[]);
    all(&mut one, vec![call("a", "in_progress"), call("b", "in_progress")]);
    let told = short(&one.end());
    assert!(
        told.starts_with("a={\"error\":\"the turn ended") && told.contains("[b|]") && told.ends_with("-b"),
        "{told}"
    );
}

#[test]
fn what_is_asked_for_has_begun() {
    let mut one = telling(&[]);
    all(&mut one, vec![call("a", "pending")]);
    let fields = ToolCallUpdateFields::new().title("Remove x".to_owned());
    let acts = one.asked(ToolCallUpdate::new("a", fields)).unwrap();
    assert_eq!(short(&acts), "+a [a|]");
}

#[test]
fn ids_names_and_arguments_are_what_a_history_takes() {
    let mut one = telling(&["a"]);
    let call = json!({"sessionUpdate": "tool_call", "toolCallId": "a", "title": "t", "name": "Böse Datei", "rawInput": {"path": "x"}});
    let acts = one.on(update(call)).unwrap();
    let Act::Keep(Step::Calls { message, cost }) = &acts[1] else { panic!("{acts:?}") };
    let expected = json!({"id": "a-2", "type": "function", "function": {"name": "B_se_Datei", "arguments": "{\"path\":\"x\"}"}});
    assert_eq!(message.tool_calls, [expected]);
    assert_eq!((cost.model.as_str(), cost.provider.as_str()), ("agent", "acp"));
    let done = json!({"sessionUpdate": "tool_call_update", "toolCallId": "a", "status": "completed", "rawOutput": {"n": 1}});
    assert_eq!(short(&one.on(update(done)).unwrap()), "a-2={\"n\":1}! -a-2");
    // Whatever comes late.
    assert_eq!(short(&one.on(change("a", "in_progress", "late")).unwrap()), "");
}

#[test]
fn results_are_texts_and_bounded() {
    let of = |status, content: Vec<ToolCallContent>, output| {
        result(&Call { status, content, output, ..Call::default() }, 20)
    };
    let ok = ToolCallStatus::Completed;
    assert_eq!(of(ok, vec![], None), r#"{"status":"completed"}"#);
    assert_eq!(of(ToolCallStatus::Failed, vec![], None), r#"{"error":"it failed"}"#);
    assert_eq!(of(ok, vec!["a".into(), "b".into()], Some(json!("unused"))), "a\nb");
    assert_eq!(of(ok, vec![Diff::new("x", "new").into()], None), "wrote x:\nnew");
    let long = of(ok, vec!["ü".repeat(30).into()], None);
    assert!(long.starts_with("üüüüüüüüüü…") && long.ends_with("[cut: 20 of 60 bytes are kept]"), "{long}");
}

#[test]
fn thoughts_and_plans_are_shown_and_are_no_answer() {
    let mut one = telling(&[]);
    let plan = Plan::new(vec![PlanEntry::new("look", PlanEntryPriority::High, PlanEntryStatus::Completed)]);
    let thought = SessionUpdate::AgentThoughtChunk(ContentChunk::new("hm".into()));
    let told = all(&mut one, vec![thought, SessionUpdate::Plan(plan)]);
    assert_eq!(told, "(hm) (- [x] look\n)");
    assert_eq!(one.answer(), "");
}

#[test]
fn messages_of_one_turn_stand_apart() {
    let piece = |id: &str, text: &str| {
        update(
            json!({"sessionUpdate": "agent_message_chunk", "messageId": id, "content": {"type": "text", "text": text}}),
        )
    };
    let mut one = telling(&[]);
    all(&mut one, vec![piece("1", "a"), piece("1", "b"), piece("2", "c")]);
    assert_eq!(one.answer(), "ab\n\nc");
}

#[test]
fn an_answer_before_the_last_call_counts_where_nothing_follows() {
    let mut one = telling(&[]);
    all(&mut one, vec![said("It is 4."), call("a", "in_progress"), change("a", "completed", "kept")]);
    assert_eq!(one.answer(), "It is 4.");
}

#[test]
fn too_much_is_too_much() {
    let mut one = telling(&[]);
    let piece = "x".repeat(1 << 20);
    let results: Vec<_> = (0..5).map(|_| one.on(said(&piece)).is_ok()).collect();
    assert_eq!(results, [true, true, true, true, false]);
    let mut one = telling(&[]);
    let calls = (0..=MAX_CALLS).map(|n| one.on(call(&n.to_string(), "pending")).is_ok());
    assert_eq!(calls.filter(|ok| !ok).count(), 1);
}

proptest! {
    /// Whatever order an agent tells things in, what is kept is whole: calls first, then each of their results once, the last one marked.
    #[test]
    fn what_is_kept_is_always_whole(told in prop::collection::vec((0..6_u8, 0..5_u8), 0..60)) {
        let mut one = telling(&[]);
        let mut acts = Vec::new();
        for (id, what) in told {
            let id = id.to_string();
            let update = match what {
                0 => said("text"),
                1 => call(&id, "pending"),
                2 => call(&id, "in_progress"),
                3 => change(&id, "in_progress", "some"),
                _ => change(&id, "completed", "all"),
            };
            acts.extend(one.on(update).unwrap());
        }
        acts.extend(one.end());
        let (mut open, mut seen): (Vec<String>, HashSet<String>) = Default::default();
        for act in acts {
            match act {
                Act::Keep(Step::Calls { message, .. }) => {
                    prop_assert!(open.is_empty());
                    open = message.call_ids().map(str::to_owned).collect();
                    prop_assert!(!open.is_empty() && open.iter().all(|id| seen.insert(id.clone())));
                }
                Act::Keep(Step::Result { message, is_last }) => {
                    let id = message.tool_call_id.unwrap();
                    let before = open.len();
                    open.retain(|known| *known != id);
                    prop_assert_eq!(open.len() + 1, before);
                    prop_assert_eq!(is_last, open.is_empty());
                }
                Act::Show(_) => {}
            }
        }
        prop_assert!(open.is_empty());
    }
}
