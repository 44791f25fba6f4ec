"""`langchain-openai`."""

import json
import os

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

CLIENT = "langchain"
URL, KEY = os.environ["HERMES_BASE_URL"], os.environ["HERMES_API_KEY"]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@tool
def weather(place: str) -> str:
    """The weather of a place."""
    return "wet in " + place


def model(**more):
    return ChatOpenAI(**{"model": "default", "base_url": URL, "api_key": KEY, **more})


def plain():
    answer = model().invoke([SystemMessage("Be brief."), HumanMessage("plain")])
    assert answer.content == "pong" and answer.usage_metadata["total_tokens"] == 16, answer


def stream():
    whole = None
    for chunk in model(stream_usage=True).stream("plain"):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == "pong" and whole.usage_metadata["total_tokens"] == 16, whole


def tools():
    bound = model().bind_tools([weather])
    for streamed in (False, True):
        messages = [HumanMessage("the weather")]
        if streamed:
            answer = None
            for chunk in bound.stream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = bound.invoke(messages)
        assert [call["args"] for call in answer.tool_calls] == [{"place": "here"}, {"place": "there"}], answer
        messages.append(answer)
        for call in answer.tool_calls:
            messages.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
        answer = bound.invoke(messages)
        assert answer.content == "wet in here, wet in there", answer


def session():
    with_session = model(default_headers={"X-Hermes-Session-Id": "a session of " + CLIENT})
    assert with_session.invoke("how many").content == "1"
    assert with_session.invoke("how many").content == "3"


def wrong_key():
    try:
        model(api_key="wrong-key-of-" + CLIENT).invoke("plain")
        raise AssertionError("a wrong key")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error


def permanent():
    try:
        model().invoke("deny " + CLIENT)
        raise AssertionError("a permanent failure")
    except openai.APIStatusError as error:
        assert "no such account" in str(error), error


def temporary():
    assert model(max_retries=2).invoke("busy " + CLIENT).content == "at last"


def vision():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    assert model().invoke([HumanMessage(parts)]).content == "a picture"


def json_mode():
    schema = {"title": "Answer", "type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    for method in ("json_mode", "json_schema"):
        assert model().with_structured_output(schema, method=method).invoke("json") == {"answer": 42}, method
    assert json.loads(model(model_kwargs={"response_format": {"type": "json_object"}}).invoke("json").content)


def cancel():
    answer = model().stream("endless " + CLIENT)
    for _, _chunk in zip(range(5), answer):
        pass
    answer.close()


def responses():
    answer = model(use_responses_api=True).invoke([SystemMessage("Be brief."), HumanMessage("plain")])
    assert answer.text == "pong" and answer.usage_metadata["total_tokens"] == 16, answer
    whole = None
    for chunk in model(use_responses_api=True).stream("plain"):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == "pong", whole
    answer = model(use_responses_api=True).bind_tools([weather]).invoke("the weather")
    assert [call["args"] for call in answer.tool_calls] == [{"place": "here"}, {"place": "there"}], answer


for case in (plain, stream, tools, session, wrong_key, permanent, temporary, vision, json_mode, cancel, responses):
    case()
    print("ok", case.__name__, flush=True)
