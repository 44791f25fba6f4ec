"""`litellm`, as a library."""

import json
import os

import litellm

CLIENT = "litellm"
URL, KEY = os.environ["HERMES_BASE_URL"], os.environ["HERMES_API_KEY"]
MODEL = "openai/default"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]


def chat(messages, **more):
    more = {"api_key": KEY, **more}
    return litellm.completion(model=MODEL, api_base=URL, messages=messages, **more)


def ask(text, **more):
    return chat([{"role": "user", "content": text}], **more)


def plain():
    answer = ask("plain")
    assert answer.choices[0].message.content == "pong" and answer.usage.total_tokens == 16, answer


def stream():
    chunks = list(ask("plain", stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "pong", chunks
    whole = litellm.stream_chunk_builder(chunks)
    assert whole.usage.prompt_tokens == 11 and whole.usage.completion_tokens == 5, whole


def tools():
    messages = [{"role": "user", "content": "the weather"}]
    for streamed in (False, True):
        answer = chat(messages, tools=TOOLS, stream=streamed)
        if streamed:
            answer = litellm.stream_chunk_builder(list(answer))
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == "tool_calls", answer
        assert [json.loads(c.function.arguments)["place"] for c in message.tool_calls] == ["here", "there"], answer
        results = [{"role": "tool", "tool_call_id": c.id, "content": c.id} for c in message.tool_calls]
        answer = chat([*messages, message.model_dump(), *results], tools=TOOLS)
        assert answer.choices[0].message.content == "call_a, call_b", answer


def session():
    headers = {"X-Hermes-Session-Id": "a session of " + CLIENT}
    assert ask("how many", extra_headers=headers).choices[0].message.content == "1"
    assert ask("how many", extra_headers=headers).choices[0].message.content == "3"


def wrong_key():
    try:
        ask("plain", api_key="wrong-key-of-" + CLIENT)
        raise AssertionError("a wrong key")
    except litellm.AuthenticationError:
        pass


def permanent():
    try:
        ask("deny " + CLIENT)
        raise AssertionError("a permanent failure")
    except litellm.exceptions.APIError as error:
        assert "no such account" in str(error), error
    except litellm.exceptions.BadRequestError as error:
        assert "no such account" in str(error), error


def temporary():
    assert ask("busy " + CLIENT, max_retries=2).choices[0].message.content == "at last"


def vision():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    assert chat([{"role": "user", "content": parts}]).choices[0].message.content == "a picture"


def json_mode():
    answer = ask("json", response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"answer": 42}, answer


def cancel():
    answer = ask("endless " + CLIENT, stream=True)
    for _, _chunk in zip(range(5), answer):
        pass
    answer.completion_stream.close()


def models():
    known = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_key=KEY, api_base=URL.removesuffix("/v1")
    )
    assert "hermes-agent" in " ".join(known), known


def responses():
    ask = {"model": MODEL, "api_base": URL, "api_key": KEY}
    first = litellm.responses(input="how many", **ask)
    assert first.output[0].content[0].text == "1", first


for case in (plain, stream, tools, session, wrong_key, permanent, temporary, vision, json_mode, cancel, models, responses):
    case()
    print("ok", case.__name__, flush=True)
