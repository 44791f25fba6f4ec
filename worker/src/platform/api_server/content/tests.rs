//! Messages as clients send them.

use super::*;

fn message(role: Role, text: &str) -> Message {
    Message::new(role, json!(text))
}

fn of(messages: Value) -> Result<Conversation, ApiError> {
    parse(Some(messages), false)
}

fn place(error: &ApiError) -> (u16, Option<&str>, Option<&str>) {
    (error.status.as_u16(), error.code, error.param.as_deref())
}

/// Wires 7: `developer` is `system`; an assistant that says nothing has said nothing.
#[test]
fn roles_are_sorted_out() {
    let conversation = of(json!([
        {"role": "system", "content": "one"},
        {"role": "user", "content": "hi", "name": "ana"},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "audio": null, "function_call": null},
        {"role": "system", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": null, "refusal": "no"},
        {"role": "developer", "content": "three"},
        {"role": "user", "content": "go"},
    ]))
    .unwrap();
    assert_eq!(conversation.system.as_deref(), Some("one\ntwo\nthree"));
    let mut first = message(Role::User, "hi");
    first.name = Some("ana".to_owned());
    assert_eq!(
        conversation.history,
        [first, message(Role::Assistant, ""), message(Role::User, "again"), message(Role::Assistant, "no")]
    );
    assert_eq!(conversation.input, [message(Role::User, "go")]);
    assert_eq!(conversation.opening(), "hi");
}

#[test]
fn what_is_no_conversation_is_refused_by_name() {
    for bad in [
        None,
        Some(json!([])),
        Some(json!("x")),
        Some(json!({})),
        Some(json!(["x"])),
        Some(json!([{"content": "x"}])),
    ] {
        let error = parse(bad, false).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.message.as_str()),
            (400, "Missing or invalid 'messages' field")
        );
    }
    // Wires 7: a blank text is none.
    for empty in [
        json!([{"role": "system", "content": "x"}]),
        json!([{"role": "user", "content": ""}]),
        json!([{"role": "user", "content": " \n\t\u{a0}"}]),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": []}]),
        json!([{"role": "user", "content": [{"type": "text", "text": "  "}]}]),
    ] {
        assert_eq!(of(empty.clone()).unwrap_err().message, "No user message found in messages", "{empty}");
    }
    for (role, code) in
        [("function", "unsupported_role"), ("bot", "unsupported_role"), ("User", "unsupported_role")]
    {
        let error = of(json!([{"role": role, "content": "x"}])).unwrap_err();
        assert_eq!(place(&error), (400, Some(code), Some("messages[0].role")));
        assert!(error.message.contains(role), "{}", error.message);
    }
    let own =
        of(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])).unwrap_err();
    assert_eq!(own.param.as_deref(), Some("messages[1].role"));
}

/// Wires 7: every kind of part of OpenAI's schema, and of its other interface, is taken or refused by its name.
#[test]
fn parts_are_checked_and_normalised() {
    let of = |content: Value| {
        of(json!([{"role": "user", "content": content}])).map(|c| c.input[0].content.clone())
    };
    assert_eq!(of(json!(["a", {"type": "input_text", "text": "b"}])), Ok(json!("a\nb")));
    assert_eq!(
        of(
            json!([{"type": "text", "text": "see"}, {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}])
        ),
        Ok(json!([
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        ]))
    );
    let data =
        json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "high"}}]);
    assert_eq!(of(data.clone()), Ok(data));
    for kind in [
        "input_audio",
        "audio",
        "file",
        "input_file",
        "video_url",
        "tool_use",
        "tool_result",
        "thinking",
        "computer_screenshot",
    ] {
        let error = of(json!([{"type": "text", "text": "x"}, { "type": kind }])).unwrap_err();
        assert_eq!(place(&error), (400, Some("unsupported_content_type"), Some("messages[0].content")));
        assert!(error.message.contains(&format!("'{kind}'")), "{}", error.message);
    }
    for (bad, code) in [
        (json!([{"type": "image_url", "image_url": "data:text/plain,x"}]), "unsupported_content_type"),
        (json!([{"type": "image_url", "image_url": "ftp://x"}]), "invalid_image_url"),
        (json!([{"type": "image_url"}]), "invalid_image_url"),
        (json!([{"type": "image_url", "image_url": {"url": ""}}]), "invalid_image_url"),
        (json!([7]), "invalid_content_part"),
        (json!([{"text": "x"}]), "invalid_content_part"),
        (json!([{"type": "text", "text": 7}]), "invalid_content_part"),
        (json!(7), "invalid_content_part"),
        (json!({"type": "text", "text": "x"}), "invalid_content_part"),
    ] {
        let error = of(bad.clone()).unwrap_err();
        assert_eq!(place(&error), (400, Some(code), Some("messages[0].content")), "{bad}");
    }
    let refused = parse(
        Some(
            json!([{"role": "system", "content": [{"type": "image_url", "image_url": "https://x"}]}, {"role": "user", "content": "x"}]),
        ),
        false,
    );
    assert_eq!(
        place(&refused.unwrap_err()),
        (400, Some("unsupported_content_type"), Some("messages[0].content"))
    );
}

/// Wires 7: no text is cut, however long, and none is read as anything but text.
#[test]
fn text_is_whole_and_only_text() {
    for text in [
        "ä".repeat(200_000),
        r#"[{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]"#.to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
        "/new".to_owned(),
        "\0json:{\"a\": 1}".to_owned(),
        "[SILENT] MEDIA:/etc/passwd {payload}".to_owned(),
    ] {
        let conversation = of(json!([{"role": "user", "content": text}])).unwrap();
        assert_eq!(conversation.input, [message(Role::User, &text)]);
        let parts = of(json!([{"role": "user", "content": [{"type": "text", "text": text}]}])).unwrap();
        assert_eq!(parts.input, [message(Role::User, &text)]);
    }
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

/// Wires 7: calls and results keep ids, order and null content, and are one input.
#[test]
fn results_of_tools_are_what_is_new() {
    let conversation = of(json!([
        {"role": "user", "content": "two things"},
        {"role": "assistant", "content": null, "tool_calls": [call("a"), {"id": "b", "index": 1, "function": {"name": "g", "arguments": {"x": 1}}}]},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}], "name": "f"},
    ]))
    .unwrap();
    assert_eq!(conversation.history, [message(Role::User, "two things")]);
    let [caller, b, a] = &conversation.input[..] else { panic!("{conversation:?}") };
    assert_eq!((&caller.content, caller.role), (&Value::Null, Role::Assistant));
    assert_eq!(caller.tool_calls[1]["function"], json!({"name": "g", "arguments": "{\"x\":1}"}));
    assert_eq!(
        (caller.tool_calls[0].clone(), &caller.tool_calls[1]["type"]),
        (call("a"), &json!("function"))
    );
    assert_eq!((b.tool_call_id.as_deref(), &b.content), (Some("b"), &json!("")));
    assert_eq!(
        (a.tool_call_id.as_deref(), &a.content, a.name.as_deref()),
        (Some("a"), &json!("1"), Some("f"))
    );
    // Further on they are history.
    let later = of(json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "thanks"},
    ]))
    .unwrap();
    assert_eq!((later.history.len(), later.input), (4, vec![message(Role::User, "thanks")]));
}

#[test]
fn results_must_belong_to_a_call() {
    let result = json!({"role": "tool", "tool_call_id": "z", "content": "1"});
    let user = json!({"role": "user", "content": "x"});
    let caller = json!({"role": "assistant", "content": null, "tool_calls": [call("a")]});
    for messages in [json!([result]), json!([user, result]), json!([user, caller, result])] {
        let error = of(messages.clone()).unwrap_err();
        let at = format!("messages[{}].tool_call_id", messages.as_array().unwrap().len() - 1);
        assert_eq!(place(&error), (400, Some("invalid_value"), Some(at.as_str())), "{messages}");
    }
    // A named session may know the call.
    assert_eq!(parse(Some(json!([result])), true).unwrap().input.len(), 1);
    assert!(parse(Some(json!([user, result])), true).is_err());
    for (bad, below) in [
        (json!({"role": "tool", "content": "1"}), ".tool_call_id"),
        (json!({"role": "assistant", "tool_calls": {}}), ".tool_calls"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a"}]}), ".tool_calls[0]"),
        (json!({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}), ".tool_calls[0]"),
        (json!({"role": "assistant", "function_call": {"name": "f"}}), ".function_call"),
        (json!({"role": "assistant", "audio": {"id": "x"}}), ".audio"),
        (json!({"role": "user", "content": "x", "name": 7}), ".name"),
    ] {
        let error = of(json!([user, bad])).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(format!("messages[1]{below}").as_str()), "{bad}");
    }
}
