"""The `openai` package."""

import json
import os

import openai
import pydantic

CLIENT = "openai-python"
URL, KEY = os.environ["HERMES_BASE_URL"], os.environ["HERMES_API_KEY"]
client = openai.OpenAI(base_url=URL, api_key=KEY)
MODEL = "default"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]


def ask(text, **more):
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **more)


def plain():
    answer = ask("plain")
    assert answer.choices[0].message.content == "pong", answer
    assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens == 16, answer
    assert answer._request_id, "every answer has an id"


def stream():
    chunks = list(ask("plain", stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "pong", chunks
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 16, chunks[-1]
    assert all(c.usage is None for c in chunks[:-1]), chunks


def parameters():
    answer = ask("parameters", temperature=0.25, seed=7, max_tokens=9, stop=["x"], extra_body={"top_k": 3})
    assert json.loads(answer.choices[0].message.content) == {
        "temperature": 0.25,
        "seed": 7,
        "max_tokens": 9,
        "stop": ["x"],
        "top_k": 3,
    }, answer
    for name, value in [("n", 2), ("logprobs", True)]:
        try:
            ask("plain", **{name: value})
            raise AssertionError(name)
        except openai.BadRequestError as error:
            assert error.code == "unsupported_parameter" and error.param == name, error


def tools():
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "the weather"}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls" and message.content is None, answer
    assert [json.loads(c.function.arguments) for c in message.tool_calls] == [{"place": "here"}, {"place": "there"}], answer
    messages.append(message)
    for call in message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "wet " + call.id})
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content == "wet call_a, wet call_b", answer


def streamed_tools():
    with client.chat.completions.stream(
        model=MODEL, messages=[{"role": "user", "content": "the weather"}], tools=TOOLS
    ) as events:
        final = events.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert final.choices[0].finish_reason == "tool_calls", final
    assert [(c.id, json.loads(c.function.arguments)["place"]) for c in calls] == [("call_a", "here"), ("call_b", "there")], calls


def session():
    headers = {"X-Hermes-Session-Id": "a session of " + CLIENT}
    assert ask("how many", extra_headers=headers).choices[0].message.content == "1"
    assert ask("how many", extra_headers=headers).choices[0].message.content == "3"
    call = ask("the weather", extra_headers=headers, tools=TOOLS).choices[0].message.tool_calls
    # The session knows the calls: the results alone go on.
    results = [{"role": "tool", "tool_call_id": c.id, "content": c.id} for c in call]
    answer = client.chat.completions.create(model=MODEL, messages=results, tools=TOOLS, extra_headers=headers)
    assert answer.choices[0].message.content == "call_a, call_b", answer


def wrong_key():
    try:
        client.with_options(api_key="wrong-key-of-" + CLIENT).models.list()
        raise AssertionError("a wrong key")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error


def permanent():
    try:
        ask("deny " + CLIENT)
        raise AssertionError("a permanent failure")
    except openai.APIStatusError as error:
        assert "no such account" in str(error) and error.status_code < 500, error


def temporary():
    assert ask("busy " + CLIENT).choices[0].message.content == "at last"


def vision():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "a picture", answer


def json_mode():
    answer = ask("json", response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"answer": 42}, answer


def cancel():
    answer = ask("endless " + CLIENT, stream=True)
    seen = 0
    for chunk in answer:
        seen += len(chunk.choices[0].delta.content or "")
        if seen > 10:
            break
    answer.close()


def models():
    assert [model.id for model in client.models.list()] == ["hermes-agent"]
    assert client.models.retrieve("hermes-agent").id == "hermes-agent"


class Answer(pydantic.BaseModel):
    answer: int


FLAT = [{"type": "function", **TOOLS[0]["function"]}]


def respond(text, **more):
    return client.responses.create(model=MODEL, input=text, **more)


def responses():
    first = respond("how many", instructions="Be brief.", metadata={"a": "b"})
    assert first.output_text == "1" and first.status == "completed" and first.usage.total_tokens == 16, first
    again = client.responses.retrieve(first.id)
    assert again.output_text == "1" and again.metadata == {"a": "b"}, again
    second = respond("how many", previous_response_id=first.id)
    assert second.output_text == "3" and second.previous_response_id == first.id, second
    items = list(client.responses.input_items.list(second.id))
    assert [item.content[0].text for item in items] == ["how many"], items
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
        raise AssertionError("it was deleted")
    except openai.NotFoundError as error:
        assert error.code == "response_not_found", error
    assert respond("how many", conversation="talk of " + CLIENT).output_text == "1"
    assert respond("how many", conversation="talk of " + CLIENT).output_text == "3"
    try:
        respond("deny " + CLIENT + " again")
        raise AssertionError("a permanent failure")
    except openai.APIStatusError as error:
        assert "no such account" in str(error) and error.response.json()["status"] == "failed", error


def streamed_responses():
    with client.responses.stream(model=MODEL, input="plain") as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert final.output_text == "pong" and kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    numbers = [event.sequence_number for event in respond("plain", stream=True)]
    assert numbers == list(range(len(numbers))), numbers


def response_tools():
    asked = respond("the weather", tools=FLAT)
    calls = [item for item in asked.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["place"] for call in calls] == ["here", "there"], asked
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "wet " + call.call_id} for call in calls]
    answer = respond(results, previous_response_id=asked.id, tools=FLAT)
    assert answer.output_text == "wet call_a, wet call_b", answer
    # The same, where the client carries the conversation.
    whole = [{"role": "user", "content": "the weather"}, *asked.output, *results]
    assert respond(whole, tools=FLAT, store=False).output_text == "wet call_a, wet call_b"
    with client.responses.stream(model=MODEL, input="the weather", tools=FLAT) as events:
        final = events.get_final_response()
    assert [item.type for item in final.output] == ["function_call", "function_call"], final


def parsed_response():
    answer = client.responses.parse(model=MODEL, input="json", text_format=Answer)
    assert answer.output_parsed == Answer(answer=42), answer


for case in (
    plain, stream, parameters, tools, streamed_tools, session, wrong_key, permanent, temporary, vision, json_mode, cancel, models,
    responses, streamed_responses, response_tools, parsed_response
):
    case()
    print("ok", case.__name__, flush=True)
