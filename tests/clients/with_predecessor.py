"""The session store of the Python program, on a home that this program has written to: reads it, continues it, searches it.

Called with the id of a session that this program made, how many of its messages there are, and a word to leave behind.
"""

import os
import sqlite3
import sys

from hermes_state import DEFAULT_DB_PATH, SessionDB

SESSION, MESSAGES, WORD = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PATH = os.path.join(os.environ["HERMES_HOME"], "state.db")
db = SessionDB()
assert str(DEFAULT_DB_PATH) == PATH


def ok(name):
    print("ok", name, flush=True)


def found(query):
    return [hit for hit in db.search_messages(query) if hit["session_id"] == SESSION]


session = db.get_session(SESSION)
assert session["source"] == "api_server" and session["system_prompt"], session
assert session["message_count"] == MESSAGES, session["message_count"]
messages = db.get_messages_as_conversation(SESSION)
assert [m["role"] for m in messages] == (["user", "assistant", "tool", "assistant"] * MESSAGES)[:MESSAGES], messages
assert any(m.get("tool_calls") for m in messages)
ok("read")

assert found("needle") and found("note"), "text, and the name of a tool"
ok("search")

CALL = {"id": "call_p", "type": "function", "function": {"name": "terminal", "arguments": '{"command": "ls"}'}}
db.append_message(SESSION, "user", f"{WORD} asks")
db.append_message(SESSION, "assistant", "", tool_calls=[CALL], finish_reason="tool_calls")
db.append_message(SESSION, "tool", f"{WORD} " * 4000, tool_name="terminal", tool_call_id="call_p")
db.append_message(SESSION, "assistant", f"{WORD} answers", finish_reason="stop")
assert len(found(WORD)) == 3, found(WORD)
ok("continue")

other = db.create_session(f"other-{WORD}", "cli", model="m", system_prompt="theirs")
db.append_message(other, "user", f"{WORD} elsewhere")
db.end_session(other, "user_exit")
db.create_session(f"gone-{WORD}", "cli")
db.append_message(f"gone-{WORD}", "user", f"{WORD} nowhere")
assert db.delete_session(f"gone-{WORD}")
assert not [hit for hit in db.search_messages(f"{WORD} nowhere") if hit["session_id"].startswith("gone")]
ok("other sessions")

# The whole transcript written anew, as after an edit: every update and delete of a row goes through the triggers.
db.replace_messages(other, [{"role": "user", "content": f"{WORD} replaced"}])
assert db.search_messages(f'"{WORD} replaced"') and not db.search_messages(f'"{WORD} elsewhere"')
ok("replace")

db.close()
raw = sqlite3.connect(PATH)
for index in ["messages_fts", "messages_fts_trigram"]:
    raw.execute(f"INSERT INTO {index}({index}, rank) VALUES ('integrity-check', 1)")
assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
for name, text in raw.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE 'messages_fts%_update'"):
    assert "AFTER UPDATE OF content" in text, (name, text)
raw.close()
ok("indexes")
