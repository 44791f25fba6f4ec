"""The `python-telegram-bot` package against the tests' own Bot API: what a client that people use takes for Telegram is enough of it."""

import asyncio
import os
import sys

from telegram import Bot, BotCommand, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter, TimedOut
from telegram.request import HTTPXRequest

URL, TOKEN = os.environ["BOT_API"], os.environ["BOT_TOKEN"]
ANN, GONE = 777, 888


def bot(token=TOKEN, **more):
    return Bot(token, base_url=URL + "/bot", base_file_url=URL + "/file/bot", **more)


async def refused(kind, call, *words):
    try:
        await call
    except kind as error:
        assert all(word in str(error) for word in words), error
        return error
    raise AssertionError(f"no {kind.__name__}")


def tell(what):
    """Asks the test to do something, and waits until it is done."""
    print("do", what, flush=True)
    sys.stdin.readline()


async def main():
    async with bot() as b:
        assert b.username == "hermes_test_bot", b.username
        await refused(InvalidToken, bot("1:another").initialize())
        await refused(BadRequest, b.send_message(ANN, "nobody wrote yet"), "Chat not found")

        tell("say")
        first, second = await b.get_updates(timeout=5)
        assert first.message.text == "hello" and first.message.chat.id == ANN, first
        assert second.message.document.file_name == "a.txt", second
        again = await b.get_updates(offset=first.update_id, timeout=0)
        assert [u.update_id for u in again] == [first.update_id, second.update_id], "offered until confirmed"
        file = await b.get_file(second.message.document.file_id)
        assert bytes(await file.download_as_bytearray()) == b"text"
        assert await b.get_updates(offset=second.update_id + 1, timeout=0) == ()

        keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="y:1")]])
        sent = await b.send_message(
            ANN, "*b* and `c`", parse_mode="MarkdownV2", reply_markup=keyboard, reply_to_message_id=first.message.message_id
        )
        assert sent.text == "b and c", sent
        await refused(BadRequest, b.send_message(ANN, "a.b", parse_mode="MarkdownV2"), "parse entities", "reserved")
        await refused(BadRequest, b.send_message(ANN, "x" * 4097), "too long")
        assert await b.send_message(ANN, "😀" * 2048)
        await refused(BadRequest, b.send_message(ANN, "😀" * 2049), "too long")
        await refused(BadRequest, b.send_message(ANN, " "), "empty")
        await refused(BadRequest, b.send_message(ANN, "x", message_thread_id=5), "thread not found")
        await b.send_chat_action(ANN, "typing")
        await b.edit_message_text("new", ANN, sent.message_id, reply_markup=keyboard)
        await refused(
            BadRequest, b.edit_message_text("new", ANN, sent.message_id, reply_markup=keyboard), "not modified"
        )
        await b.set_my_commands([BotCommand("help", "what there is")])
        await refused(BadRequest, b.set_my_commands([BotCommand("No-Name", "x")]), "Bot_command_invalid")

        tell("press")
        (press,) = await b.get_updates(offset=second.update_id + 1, timeout=5)
        assert press.callback_query.data == "y:1" and press.callback_query.message.message_id == sent.message_id
        assert await b.answer_callback_query(press.callback_query.id, "done")

        tell("block")
        await refused(Forbidden, b.send_message(GONE, "x"), "blocked by the user")
        tell("flood")
        error = await refused(RetryAfter, b.send_message(ANN, "x"))
        seconds = error._retry_after if hasattr(error, "_retry_after") else error.retry_after
        assert getattr(seconds, "total_seconds", lambda: seconds)() == 7, seconds

        tell("webhook")
        await refused(Conflict, b.get_updates(timeout=0), "webhook is active")
        assert (await b.get_webhook_info()).url == "https://elsewhere.example/"
        await b.delete_webhook()
        await refused(BadRequest, b.set_webhook("http://h.example/"), "an https url")
        assert await b.set_webhook("https://h.example/x", secret_token="s-1", allowed_updates=["message"], max_connections=4)
        info = await b.get_webhook_info()
        assert (info.url, info.last_error_date) == ("https://h.example/x", None), info
        await refused(Conflict, b.get_updates(timeout=0), "webhook is active")
        await b.delete_webhook(drop_pending_updates=False)
        # Behind what GONE wrote.
        last = press.update_id + 2
        waiting = asyncio.create_task(b.get_updates(offset=last, timeout=20))
        async with bot(get_updates_request=HTTPXRequest()) as other:
            await asyncio.sleep(0.5)
            assert await other.get_updates(offset=last, timeout=0) == ()
        await refused(Conflict, waiting, "terminated by other getUpdates request")

        tell("stick")
        await refused(TimedOut, b.send_message(ANN, "x", read_timeout=1))
    print("ok", flush=True)


asyncio.run(main())
