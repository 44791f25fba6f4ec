"""The `mattermostdriver` package against the tests' own Mattermost: what a client that people use takes for Mattermost is enough of it."""

import asyncio
import json
import os
import sys
import threading
import time

from mattermostdriver import Driver
from mattermostdriver.exceptions import NoAccessTokenProvided, NotEnoughPermissions, ResourceNotFound

HOST, PORT = os.environ["SERVER"].split(":")
BOT, ANN, DM, TOWN = os.environ["NAMES"].split()
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


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind}")


driver = Driver({"url": HOST, "port": int(PORT), "scheme": "http", "token": os.environ["TOKEN"], "verify": False})
driver.login()
assert driver.client.userid == BOT and driver.client.username == "hermes", driver.client.userid


async def on_event(text):
    heard.append(json.loads(text))


def listen():
    asyncio.set_event_loop(asyncio.new_event_loop())
    driver.init_websocket(on_event)


threading.Thread(target=listen, daemon=True).start()
tell("hear")
until("the hello", lambda: any(event.get("event") == "hello" for event in heard))
until("the reply", lambda: any(event.get("seq_reply") == 1 and event["status"] == "OK" for event in heard))

tell("say")


def posted(text):
    for event in heard:
        if event.get("event") == "posted":
            post = json.loads(event["data"]["post"])
            if post["message"] == text:
                return post, event
    return None


until("a post", lambda: posted("hi there"))
post, event = posted("hi there")
assert post["user_id"] == ANN and post["channel_id"] == DM and event["data"]["channel_type"] == "D", event
assert event["data"]["sender_name"] == "@ann", event

answer = driver.posts.create_post({"channel_id": DM, "message": "an answer", "root_id": post["id"], "pending_post_id": "x:1"})
again = driver.posts.create_post({"channel_id": DM, "message": "an answer", "root_id": post["id"], "pending_post_id": "x:1"})
assert answer["id"] == again["id"] and answer["root_id"] == post["id"], (answer, again)
assert driver.posts.patch_post(answer["id"], {"message": "changed"})["message"] == "changed"
until("the own post", lambda: posted("an answer"))
driver.reactions.create_reaction({"user_id": BOT, "post_id": post["id"], "emoji_name": "eyes"})
driver.reactions.delete_reaction(BOT, post["id"], "eyes")
refused(ResourceNotFound, lambda: driver.reactions.delete_reaction(BOT, post["id"], "eyes"))

brought = driver.files.upload_file(channel_id=DM, files={"files": ("out.txt", b"hello file")})
driver.posts.create_post({"channel_id": DM, "message": "", "file_ids": [brought["file_infos"][0]["id"]]})
tell("attach")
until("a file", lambda: posted("with file"))
file = posted("with file")[0]["metadata"]["files"][0]
assert (file["name"], file["size"]) == ("a.txt", 4), file
assert driver.files.get_file(file["id"]).content == b"text"

since = driver.posts.get_posts_for_channel(DM, params={"since": post["create_at"] - 1})
assert post["id"] in since["order"] and since["posts"][post["id"]]["message"] == "hi there", since
page = driver.posts.get_posts_for_channel(DM, params={"per_page": 1})
before = driver.posts.get_posts_for_channel(DM, params={"before": page["order"][0], "per_page": 2})
assert len(page["order"]) == 1 and len(before["order"]) == 2 and page["order"][0] not in before["order"], before
assert driver.channels.get_channel(TOWN)["type"] == "O"
assert driver.users.get_user(ANN)["username"] == "ann"
refused(ResourceNotFound, lambda: driver.channels.get_channel("nowhere"))
tell("check")
tell("limit")
try:
    driver.users.get_user("me")
except Exception as error:
    assert "429" in str(error) or error.response.status_code == 429, error
else:
    raise AssertionError("no limit")
tell("revoke")
refused(NoAccessTokenProvided, lambda: driver.users.get_user("me"))
driver.disconnect()
print("ok", flush=True)
