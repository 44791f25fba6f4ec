"""The `discord.py` package against the tests' own Discord: what a client that people use takes for Discord is enough of it."""

import asyncio
import io
import logging
import os
import sys

import discord
import yarl
from discord import app_commands

URL, GATEWAY, TOKEN = os.environ["DISCORD_API"], os.environ["DISCORD_GATEWAY"], os.environ["BOT_TOKEN"]
ANN, GENERAL, FORUM = 777, 1001, 1003
discord.http.Route.BASE = URL + "/api/v10"
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(GATEWAY)
logging.disable(logging.CRITICAL)
seen = []


def tell(what):
    """Asks the test to do something, and waits until it is done."""
    print("do", what, flush=True)
    sys.stdin.readline()


async def told(what):
    await asyncio.get_running_loop().run_in_executor(None, tell, what)


def client():
    intents = discord.Intents.default()
    intents.message_content = True
    it = discord.Client(intents=intents)
    tree = app_commands.CommandTree(it)

    @tree.command(name="status", description="how it is")
    async def status(interaction: discord.Interaction):
        await interaction.response.defer()
        await interaction.followup.send("fine")
        await interaction.followup.send("more")

    @it.event
    async def on_ready():
        seen.append("ready")

    @it.event
    async def on_resumed():
        seen.append("resumed")

    @it.event
    async def on_message(message):
        if message.author.id != it.user.id:
            seen.append(message)

    it.tree = tree
    return it


async def until(condition, what):
    for _ in range(1500):
        found = condition()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}: {seen}")


async def refused(kind, call, code=None):
    try:
        await call
    except kind as error:
        assert code is None or error.code == code, error
        return error
    raise AssertionError(f"no {kind.__name__}")


def said(text):
    return lambda: next((m for m in seen if getattr(m, "content", None) == text), None)


async def main():
    c = client()
    running = asyncio.create_task(c.start(TOKEN))
    await until(lambda: "ready" in seen, "READY")
    assert c.user.id == 4242 and c.get_channel(GENERAL).name == "general", c.user

    program = await c.application_info()
    assert program.id == 4243 and program.flags.gateway_message_content_limited and not program.bot_require_code_grant
    (place,) = [guild async for guild in c.fetch_guilds()]
    assert place.name == "Guild" and (await c.fetch_guild(place.id)).id == place.id

    await told("say")
    message = await until(said("hello"), "a message")
    assert message.author.id == ANN and message.author.global_name == "Ann Lee" and message.guild.name == "Guild"
    assert (await message.attachments[0].read()) == b"text" and message.attachments[0].filename == "a.txt"
    private = await until(said("in private"), "a private message")
    assert private.guild is None and isinstance(private.channel, discord.DMChannel)

    answer = await message.reply("an answer")
    assert answer.reference.message_id == message.id and answer.type == discord.MessageType.reply
    await answer.edit(content="another answer")
    quiet = await message.channel.send("@everyone", allowed_mentions=discord.AllowedMentions.none())
    assert quiet.mention_everyone is False
    await refused(discord.HTTPException, message.channel.send("x" * 2001), 50035)
    await refused(discord.HTTPException, message.channel.send(" "), 50006)
    sent = await message.channel.send(file=discord.File(io.BytesIO(b"bytes"), "b.bin"))
    assert sent.attachments[0].filename == "b.bin" and sent.attachments[0].size == 5
    await message.add_reaction("👀")
    await message.remove_reaction("👀", c.user)
    async with message.channel.typing():
        pass
    thread = await message.create_thread(name="a thread")
    assert thread.id == message.id and thread.parent_id == GENERAL
    await refused(discord.HTTPException, message.create_thread(name="again"), 160004)
    await thread.send("in the thread")
    post = await c.get_channel(FORUM).create_thread(name="a post", content="its text")
    assert post.thread.parent_id == FORUM
    await refused(discord.NotFound, c.fetch_channel(5), 10003)

    await c.tree.sync()
    assert [command.name for command in await c.tree.fetch_commands()] == ["status"]
    await told("slash")
    view = discord.ui.View(timeout=None)
    pressed = asyncio.Event()

    async def press(interaction):
        await interaction.response.edit_message(view=None)
        pressed.set()

    button = discord.ui.Button(label="Yes", custom_id="yes")
    button.callback = press
    view.add_item(button)
    await message.channel.send("may I?", view=view)
    await told("press")
    await asyncio.wait_for(pressed.wait(), 10)

    await told("flood")
    await message.channel.send("after the flood")
    await told("limit")
    for n in range(7):
        await message.channel.send(f"one of {n}")
    await told("unlimit")

    await told("drop")
    await until(lambda: "resumed" in seen, "RESUMED")
    await until(said("while away"), "what was said meanwhile")
    await told("invalidate")
    await until(lambda: seen.count("ready") == 2, "another session")
    await told("revoke")
    await refused((discord.ConnectionClosed, discord.LoginFailure), running)
    await refused(discord.LoginFailure, client().start("wrong"))
    await told("disallow")
    await refused(discord.PrivilegedIntentsRequired, client().start(TOKEN))
    print("ok", flush=True)


asyncio.run(asyncio.wait_for(main(), 100))
