"""The `hass-client` package against the tests' own house: what a client that people use takes for Home Assistant is enough of it."""

import asyncio
import os
import sys

import aiohttp
from hass_client import HomeAssistantClient
from hass_client.exceptions import AuthenticationFailed, FailedCommand

HOUSE, TOKEN = os.environ["HOUSE"], os.environ["TOKEN"]
SOCKET = HOUSE.replace("http", "ws", 1) + "/api/websocket"


async def tell(what):
    """Asks the test to do something, and waits until it is done."""
    print("do", what, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def refused(token):
    client = HomeAssistantClient(SOCKET, token)
    try:
        await client.connect()
    except AuthenticationFailed:
        return
    finally:
        await client.disconnect()
    raise AssertionError("let in")


async def main():
    await refused("wrong")
    client = HomeAssistantClient(SOCKET, TOKEN)
    await client.connect()
    assert client.version == "2026.11.3", client.version
    listening = asyncio.create_task(client.start_listening())
    heard = []
    await client.subscribe_events(heard.append, "state_changed")
    states = {state["entity_id"]: state["state"] for state in await client.get_states()}
    assert states == {"light.hall": "off", "lock.door": "locked"}, states
    assert (await client.get_config())["location_name"] == "Home"
    try:
        await client.send_command("nonsense")
    except FailedCommand:
        pass
    else:
        raise AssertionError("nonsense was done")
    await tell("hear")
    await tell("change")
    for _ in range(500):
        if heard:
            break
        await asyncio.sleep(0.02)
    event = heard[0]
    assert event["event_type"] == "state_changed" and event["data"]["entity_id"] == "lock.door", event
    assert event["data"]["old_state"]["state"] == "locked" and event["data"]["new_state"]["state"] == "unlocked", event

    head = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=head) as session:
        for text in ("first", "second"):
            body = {"message": text, "title": "T", "notification_id": "n"}
            async with session.post(f"{HOUSE}/api/services/persistent_notification/create", json=body) as answer:
                assert answer.status == 200, answer.status
    await tell("check")
    await tell("revoke")
    # The house ends the socket.
    for _ in range(500):
        if not client.connected:
            break
        await asyncio.sleep(0.02)
    assert not client.connected
    listening.cancel()
    await client.disconnect()
    await refused(TOKEN)
    print("ok", flush=True)


asyncio.run(main())
