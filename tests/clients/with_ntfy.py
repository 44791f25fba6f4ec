"""The `python-ntfy` package against the tests' own server: what a client that people use takes for ntfy is enough of it."""

import os
import tempfile

import requests
from python_ntfy import NtfyClient
from python_ntfy._exceptions import MessageSendError

URL = os.environ["NTFY"]


def client(topic="wire-test", auth=("ann", "secret")):
    return NtfyClient(topic=topic, server=URL, auth=auth)


def refused(call, status):
    try:
        call()
    except MessageSendError as error:
        assert status in str(error), error
        return
    raise AssertionError(f"no {status}")


ann = client()
said = ann.send("hello", title="A title", tags=["tada", "robot"], format_as_markdown=True)
assert said["event"] == "message" and said["topic"] == "wire-test" and said["message"] == "hello", said
assert said["title"] == "A title" and said["tags"] == ["tada", "robot"] and said["content_type"] == "text/markdown", said
refused(lambda: client(auth=("ann", "wrong")).send("no"), "401")

with tempfile.TemporaryDirectory() as place:
    path = os.path.join(place, "a.txt")
    with open(path, "wb") as file:
        file.write(b"text of a file")
    sent = ann.send_file(path)
assert sent["attachment"]["name"] == "a.txt" and sent["attachment"]["size"] == 14, sent
got = requests.get(sent["attachment"]["url"], auth=("ann", "secret"), timeout=10)
assert got.content == b"text of a file", got

kept = ann.get_cached_messages(since="all")
assert {message["id"] for message in kept} == {said["id"], sent["id"]}, kept
assert [message["id"] for message in ann.get_cached_messages(since=said["id"])] == [sent["id"]]
assert len(ann.get_cached_messages(since=str(said["time"]))) == 2
assert client(topic="another").get_cached_messages() == []

# More than a message holds is a file.
long = ann.send("x" * 5000)
assert long["attachment"]["name"] == "attachment.txt" and long["attachment"]["size"] == 5000, long

# The stream, as the documentation shows it: one event a line.
with requests.get(f"{URL}/wire-test/json", params={"since": said["id"]}, auth=("ann", "secret"), stream=True, timeout=10) as stream:
    import json

    lines = stream.iter_lines()
    events = [json.loads(next(lines)) for _ in range(4)]
assert [event["event"] for event in events] == ["open", "message", "message", "keepalive"], events
assert all(isinstance(event["time"], int) and event["id"] for event in events)
print("ok")
