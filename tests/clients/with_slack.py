"""The `slack_sdk` and `slack_bolt` packages against the tests' own Slack: what clients that people use take for Slack is enough of it."""

import os
import sys
import time
import urllib.request

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

API, BOT, APP = os.environ["SLACK_API"], os.environ["BOT_TOKEN"], os.environ["APP_TOKEN"]
DM, CHANNEL, ANN = "D0ANN", "C0GENERAL", "U0ANN"
heard = []


def tell(what):
    """Asks the test to do something, and waits until it is done."""
    print("do", what, flush=True)
    sys.stdin.readline()


def until(what, condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, (what, heard)
        time.sleep(0.02)


def refused(error, call):
    try:
        call()
    except SlackApiError as found:
        assert found.response["error"] == error, found.response
        return found.response
    raise AssertionError(f"no {error}")


web = WebClient(BOT, base_url=API)
me = web.auth_test()
assert me["user_id"] == "UBOT0001" and me["team_id"] == "T0001", me
app = App(token=BOT, client=web)


@app.event("message")
def on_message(event, say, client):
    # The bot's own messages come back too, and the library passes them over.
    assert not event.get("bot_id"), event
    heard.append(event["text"])
    if event.get("files"):
        request = urllib.request.Request(event["files"][0]["url_private"], headers={"Authorization": f"Bearer {BOT}"})
        heard.append(urllib.request.urlopen(request).read().decode())
        return
    if event["channel"] != DM or event["text"] == "after refresh":
        return
    client.reactions_add(channel=DM, timestamp=event["ts"], name="eyes")
    refused("already_reacted", lambda: client.reactions_add(channel=DM, timestamp=event["ts"], name="eyes"))
    client.assistant_threads_setStatus(channel_id=DM, thread_ts=event["ts"], status="is thinking...")
    posted = say(text="echo " + event["text"], thread_ts=event["ts"])
    client.chat_update(channel=DM, ts=posted["ts"], text="edited " + event["text"])
    told = [m["text"] for m in client.conversations_replies(channel=DM, ts=event["ts"])["messages"]]
    assert told == [event["text"], "edited " + event["text"]], told
    heard.append("answered")


@app.event("app_mention")
def on_mention(event):
    heard.append("mentioned: " + event["text"])


@app.command("/hermes")
def on_command(ack, respond, command):
    ack()
    respond("ran " + command["text"])


@app.action("hermes_approve_once")
def on_press(ack, body, respond):
    ack()
    heard.append("pressed " + body["actions"][0]["value"])
    respond(text="done", replace_original=True)


handler = SocketModeHandler(app, APP, web_client=WebClient(APP, base_url=API))
handler.connect()
tell("hear")
tell("say")
until("an answer", lambda: "answered" in heard)
tell("mention")
until("both", lambda: "<@UBOT0001> hello" in heard and "mentioned: <@UBOT0001> hello" in heard)
tell("attach")
until("the file", lambda: "text" in heard)
tell("slash")
button = {"type": "button", "action_id": "hermes_approve_once", "value": "42", "text": {"type": "plain_text", "text": "Once"}}
section = {"type": "section", "text": {"type": "mrkdwn", "text": "May it?"}}
web.chat_postMessage(channel=CHANNEL, text="May it?", blocks=[section, {"type": "actions", "elements": [button]}])
tell("press")
until("the press", lambda: "pressed 42" in heard)
done = web.files_upload_v2(channel=DM, content=b"hello file", filename="a.txt", title="a")
assert done["ok"], done
assert web.users_info(user=ANN)["user"]["profile"]["display_name"] == "0ann"
web.chat_postEphemeral(channel=CHANNEL, user=ANN, text="psst")
tell("check")

refused("channel_not_found", lambda: web.chat_postMessage(channel="C0NONE", text="x"))
refused("msg_too_long", lambda: web.chat_postMessage(channel=DM, text="x" * 40001))
refused("no_text", lambda: web.chat_postMessage(channel=DM, text=""))
refused("thread_not_found", lambda: web.chat_postMessage(channel=DM, text="x", thread_ts="1.1"))
refused("message_not_found", lambda: web.chat_update(channel=DM, ts="1.1", text="x"))
refused("invalid_blocks", lambda: web.chat_postMessage(channel=DM, text="x", blocks=[{**section, "text": {"type": "mrkdwn", "text": "x" * 3001}}]))
refused("invalid_auth", lambda: WebClient("xoxb-none", base_url=API).auth_test())
refused("not_allowed_token_type", lambda: web.apps_connections_open(app_token=BOT))
tell("narrow app")
assert refused("missing_scope", lambda: web.apps_connections_open(app_token=APP))["needed"] == "connections:write"
tell("widen app")
tell("narrow")
assert refused("missing_scope", lambda: web.chat_postMessage(channel=DM, text="x"))["needed"] == "chat:write"
tell("widen")
tell("limit")
limited = refused("ratelimited", lambda: web.chat_postMessage(channel=DM, text="x"))
assert limited.status_code == 429 and limited.headers["Retry-After"] == "9", limited.headers
tell("refresh")
until("what is said after a refresh", lambda: "after refresh" in heard)
handler.close()
tell("revoke")
refused("token_revoked", lambda: web.auth_test())
print("ok", flush=True)
