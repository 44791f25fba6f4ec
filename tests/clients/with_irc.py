"""The `pydle` package against the tests' own server: what a client that people use takes for IRC is enough of it."""

import asyncio
import os

import pydle

HOST, PORT = os.environ["IRC"].split(":")


class Client(pydle.Client):
    async def on_connect(self):
        await super().on_connect()
        await self.join("#hermes")

    async def on_raw_903(self, message):
        await super().on_raw_903(message)
        self.has_account = True

    async def on_join(self, channel, user):
        await super().on_join(channel, user)
        if user == self.nickname:
            self.joined.set_result(channel)

    async def on_channel_message(self, target, by, message):
        await super().on_channel_message(target, by, message)
        self.heard.append((target, by, message))

    async def on_private_message(self, target, by, message):
        await super().on_private_message(target, by, message)
        self.private.set_result((target, by, message))


async def client(nick, password):
    made = Client(nick, sasl_username="hermes", sasl_password=password, sasl_mechanism="PLAIN")
    made.joined, made.private, made.heard = asyncio.get_running_loop().create_future(), asyncio.get_running_loop().create_future(), []
    await made.connect(HOST, int(PORT), tls=False)
    return made


async def main():
    one = await client("pydle", "correct horse")
    assert await asyncio.wait_for(one.joined, 20) == "#hermes"
    assert one.has_account
    for _ in range(100):
        if "ann" in one.channels["#hermes"]["users"]:
            break
        await asyncio.sleep(0.1)
    assert "ann" in one.channels["#hermes"]["users"], one.channels
    two = await client("pydle-2", "correct horse")
    await asyncio.wait_for(two.joined, 20)
    await one.message("#hermes", "hello from a client")
    await one.message("pydle-2", "in private")
    assert (await asyncio.wait_for(two.private, 20)) == ("pydle-2", "pydle", "in private")
    assert two.heard == [("#hermes", "pydle", "hello from a client")], two.heard
    await two.set_nickname("pydle-3")
    await asyncio.sleep(0.3)
    assert two.nickname == "pydle-3", two.nickname
    # Somebody has it: another one.
    three = await client("pydle", "correct horse")
    await asyncio.wait_for(three.joined, 20)
    assert three.nickname != "pydle", three.nickname
    for each in (one, two, three):
        await each.quit("bye")
    print("ok", flush=True)


asyncio.run(asyncio.wait_for(main(), 60))
