"""Holds requests against the types of their vendors' own libraries: every field known, every value of its type.

Reads a JSON list of [wire, body] from the file that is named, and says what does not fit.
"""

import collections.abc
import json
import sys
import types
import typing

from anthropic.types.message_create_params import MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from typing_extensions import NotRequired, Required, get_args, get_origin, get_type_hints, is_typeddict

WIRES = {
    "chat": CompletionCreateParamsStreaming,
    "messages": MessageCreateParamsStreaming,
    "responses": ResponseCreateParamsStreaming,
}
SEQUENCES = (collections.abc.Iterable, collections.abc.Sequence, list, tuple)


def faults(value, kind, at):
    """What is wrong with a value; nothing where it is of this type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (typing.Annotated, Required, NotRequired, typing.Required, typing.NotRequired):
        return faults(value, args[0], at)
    if origin in (typing.Union, types.UnionType):
        found = [faults(value, one, at) for one in args]
        # The closest one is the one that was meant.
        return [] if not all(found) else max(found, key=lambda one: max(len(text) for text in one))
    if origin is typing.Literal:
        return [] if value in args else [f"{at}: {value!r} is none of {args}"]
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return [f"{at}: no object"]
        hints = get_type_hints(kind, include_extras=True)
        wrong = [f"{at}.{name}: unknown to {kind.__name__}" for name in value if name not in hints]
        wrong += [f"{at}.{name}: missing" for name in kind.__required_keys__ if name not in value]
        for name in value.keys() & hints.keys():
            wrong += faults(value[name], hints[name], f"{at}.{name}")
        return wrong
    if origin in SEQUENCES:
        if not isinstance(value, list):
            return [f"{at}: no list"]
        return [text for n, one in enumerate(value) for text in faults(one, args[0], f"{at}[{n}]")]
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            return [f"{at}: no object"]
        return [text for name, one in value.items() for text in faults(one, args[1], f"{at}.{name}")]
    if kind in (object, typing.Any):
        return []
    if kind is None or kind is type(None):
        return [] if value is None else [f"{at}: not null"]
    if kind in (int, float):
        fits = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return [] if fits else [f"{at}: {value!r} is no number"]
    if kind in (str, bool):
        return [] if isinstance(value, kind) else [f"{at}: {value!r} is no {kind.__name__}"]
    # A class of answers, which no request holds.
    return [f"{at}: not of {kind}"]


with open(sys.argv[1], encoding="utf-8") as file:
    requests = json.load(file)
wrong = [text for wire, body in requests for text in faults(body, WIRES[wire], wire)]
print("\n".join(wrong))
sys.exit(1 if wrong or {wire for wire, _ in requests} != WIRES.keys() else 0)
