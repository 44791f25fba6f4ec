"""The session store of the Python program, on a conversation that this program has made shorter: reads it, searches it, continues it, and
makes it shorter once more in its own way.

Called with the id of the session that the conversation began in, and `same` or `child`: where it goes on.
"""

import sys

from hermes_state import SessionDB

ROOT, WHERE = sys.argv[1], sys.argv[2]
db = SessionDB()


def ok(name):
    print("ok", name, flush=True)


tip = db.get_compression_tip(ROOT) or ROOT
assert (tip == ROOT) == (WHERE == "same"), (tip, ROOT)
assert db.resolve_resume_session_id(ROOT) == tip
messages = db.get_messages_as_conversation(tip)
roles = [m["role"] for m in messages]
assert roles[0] == "user" and roles[-1] == "assistant", roles
assert all(one != other for one, other in zip(roles, roles[1:])), roles
# By this it knows one; the module that looks for it needs more than the session store does.
summaries = [m for m in messages if m["content"].startswith("[CONTEXT SUMMARY]:")]
assert len(summaries) == 1 and "wants tea" in summaries[0]["content"], summaries
assert db.get_session(tip)["message_count"] == len(messages)
ok("read")

# What was summed up is found still, and once.
hits = [hit for hit in db.search_messages("two") if hit["role"] == "user"]
assert len(hits) == 1, hits
listed = [row for row in db.list_sessions_rich(limit=20) if row["id"] in (tip, ROOT)]
assert [row["id"] for row in listed] == [tip], listed
ok("search")

db.append_message(tip, "user", "theirs to be summed up")
db.append_message(tip, "assistant", "noted", finish_reason="stop")
assert db.try_acquire_compression_lock(tip, "pid=1:tid=1:agent=a:nonce=b")
db.archive_and_compact(tip, [
    {"role": "user", "content": "their summary"},
    {"role": "assistant", "content": "theirs to stay"},
])
db.release_compression_lock(tip, "pid=1:tid=1:agent=a:nonce=b")
assert len(db.get_messages_as_conversation(tip)) == 2
db.close()
ok("compress")
