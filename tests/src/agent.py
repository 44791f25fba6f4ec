"""An agent of the Agent Client Protocol that does as it is told: `say X`, `tool X`, `together`, `ask`, `crash`, `hang`, `deaf`, `flood`,
`noise`, `long`, `usage`, `recall`, `env`, `error CODE`, `refuse`, `think`. It writes what it gets to the file that HERMES_HOME/workspace/agent.log
names, one line of JSON each, and keeps its sessions there, so that it can load them again. Started with words of its own it
misbehaves from the start: `mute` never answers, `garbage` speaks no JSON, `die` ends at once, `old` speaks another version, `sign-in`
wants to be signed in, `http` takes tool servers by HTTP, `forgetful` cannot load a session, `lost` says that it can and cannot."""

import json
import os
import signal
import sys
import threading
import time

HOME = os.path.join(os.environ.get("HERMES_HOME", "."), "workspace")
os.makedirs(HOME, exist_ok=True)
MODES = set(sys.argv[1:])
KEPT = os.path.join(HOME, "agent-sessions.json")
write = threading.Lock()
store = threading.Lock()
cancelled = {}
asked = {}
signed_in = False


def note(what, **more):
    line = json.dumps({"what": what, "pid": os.getpid(), **more}) + "\n"
    log = os.open(os.path.join(HOME, "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, line.encode())
    os.close(log)


def send(message):
    with write:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def update(session, **fields):
    send({"method": "session/update", "params": {"sessionId": session, "update": fields}})


def say(session, text, kind="agent_message_chunk"):
    update(session, sessionUpdate=kind, content={"type": "text", "text": text})


def sessions():
    try:
        with open(KEPT) as file:
            return json.load(file)
    except OSError:
        return {}


def keep(session, texts):
    with store:
        known = sessions()
        known[session] = texts
        with open(KEPT + ".new", "w") as file:
            json.dump(known, file)
        os.replace(KEPT + ".new", KEPT)


def tool(session, call, title, text, status="completed", kind="execute"):
    update(session, sessionUpdate="tool_call", toolCallId=call, title=title, kind=kind, status="pending")
    update(session, sessionUpdate="tool_call_update", toolCallId=call, status="in_progress", rawInput={"title": title})
    yield
    content = [{"type": "content", "content": {"type": "text", "text": text}}]
    update(session, sessionUpdate="tool_call_update", toolCallId=call, status=status, content=content)


def wait_for(name):
    while not os.path.exists(os.path.join(HOME, name)):
        time.sleep(0.02)


def permission(session):
    options = [
        {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
        {"optionId": "always", "name": "Always", "kind": "allow_always"},
        {"optionId": "no", "name": "No", "kind": "reject_once"},
    ]
    identity = "ask-%d" % len(asked)
    asked[identity] = threading.Event()
    call = {"toolCallId": identity, "title": "Remove everything", "kind": "delete"}
    send({"id": identity, "method": "session/request_permission", "params": {"sessionId": session, "toolCall": call, "options": options}})
    asked[identity].wait()
    outcome = asked[identity].result["outcome"]
    done = "completed" if outcome.get("optionId") in ("yes", "always") else "failed"
    update(session, sessionUpdate="tool_call_update", toolCallId=identity, status=done)
    return outcome.get("optionId", outcome["outcome"])


def turn(request, session, blocks):
    text = blocks[-1].get("text", "")
    before = sessions().get(session, [])
    keep(session, before + [block.get("text", block["type"]) for block in blocks])
    result = {"stopReason": "end_turn"}
    if any("cut off" in block.get("text", "") for block in blocks[:-1]):
        note("again", told=[block.get("text") for block in blocks])
        text = "say went on"
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "say":
            for piece in rest.split(" "):
                say(session, piece + " ")
        elif word == "tool":
            for _ in tool(session, "call-%s" % rest, "Do " + rest, "done " + rest):
                note("tool", name=rest)
        elif word == "slow":
            for _ in tool(session, "call-slow", "Do slowly", "done slowly"):
                note("tool", name="slow")
                wait_for(rest)
        elif word == "together":
            runs = [tool(session, "call-%d" % n, "Do %d" % n, "done %d" % n) for n in range(3)]
            for run in runs:
                next(run)
            for run in reversed(runs):
                next(run, None)
        elif word == "wait":
            wait_for(rest)
        elif word == "ask":
            say(session, "answer: " + permission(session))
        elif word == "crash":
            print("going down: sk-ant-api03-secretsecretsecretsecret", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "hang":
            while session not in cancelled:
                time.sleep(0.02)
            result = {"stopReason": "cancelled"}
        elif word == "deaf":
            time.sleep(3600)
        elif word == "flood":
            while session not in cancelled:
                say(session, "x" * 65536)
        elif word == "noise":
            with write:
                print("this is no message")
                print('{"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "%s", "update": {"sessionUpdate": "news"}}}' % session)
                print('{"jsonrpc": "2.0", "id": 9, "method": "fs/read_text_file", "params": {"sessionId": "%s", "path": "/etc/passwd"}}' % session)
                print('{"broken": ')
        elif word == "long":
            with write:
                sys.stdout.write("y" * (17 << 20) + "\n")
        elif word == "think":
            say(session, rest, "agent_thought_chunk")
        elif word == "usage":
            result["usage"] = {"totalTokens": 30, "inputTokens": 10, "outputTokens": 20}
        elif word == "recall":
            say(session, json.dumps(before))
        elif word == "told":
            say(session, json.dumps([block.get("text", block["type"]) for block in blocks[:-1]]))
        elif word == "env":
            say(session, json.dumps(dict(os.environ)))
        elif word == "place":
            say(session, os.getcwd())
        elif word == "pid":
            say(session, str(os.getpid()))
        elif word == "child":
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "3600"])
        elif word == "refuse":
            result = {"stopReason": "refusal"}
        elif word == "error":
            code, _, message = rest.partition(" ")
            send({"id": request, "error": {"code": int(code), "message": "Internal error", "data": {"details": message}}})
            return
    send({"id": request, "result": result})


def handle(message):
    global signed_in
    method, params, request = message.get("method"), message.get("params") or {}, message.get("id")
    if method is None:
        event = asked.get(request)
        if event:
            event.result = message.get("result", {"outcome": {"outcome": "error"}})
            event.set()
        return
    note(method, params={key: value for key, value in params.items() if key != "_meta"})
    if method == "initialize":
        version = 7 if "old" in MODES else 1
        loads = "forgetful" not in MODES
        capabilities = {"loadSession": loads, "promptCapabilities": {"image": True}, "mcpCapabilities": {"http": "http" in MODES}, "sessionCapabilities": {"close": {}}}
        methods = [{"id": "key", "name": "Key"}] if "sign-in" in MODES else []
        send({"id": request, "result": {"protocolVersion": version, "agentCapabilities": capabilities, "authMethods": methods,
                                        "agentInfo": {"name": "test-agent", "version": "1"}}})
    elif method == "authenticate":
        signed_in = True
        send({"id": request, "result": {}})
    elif method == "session/new":
        if "sign-in" in MODES and not signed_in:
            send({"id": request, "error": {"code": -32000, "message": "Authentication required"}})
            return
        session = "theirs-%d-%d" % (os.getpid(), len(sessions()))
        keep(session, [])
        send({"id": request, "result": {"sessionId": session}})
    elif method == "session/load":
        known = sessions().get(params["sessionId"])
        if known is None or "lost" in MODES:
            send({"id": request, "result": None})
            return
        for text in known:
            say(params["sessionId"], text, "user_message_chunk")
        send({"id": request, "result": {}})
    elif method == "session/prompt":
        cancelled.pop(params["sessionId"], None)
        threading.Thread(target=turn, args=(request, params["sessionId"], params["prompt"]), daemon=True).start()
    elif method == "session/cancel":
        cancelled[params["sessionId"]] = True
    elif request is not None:
        send({"id": request, "error": {"code": -32601, "message": "Method not found"}})


note("start", modes=sorted(MODES))
if "die" in MODES:
    print("no such model\nfor lack of a key", file=sys.stderr)
    sys.exit(3)
if "garbage" in MODES:
    for _ in range(3000):
        print("Installing packages, please wait")
    sys.stdout.flush()
for line in sys.stdin:
    if "mute" not in MODES:
        handle(json.loads(line))
note("end")
