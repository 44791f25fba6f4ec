"""`llm`, the program for terminals."""

import json
import os
import pathlib
import subprocess
import sys

CLIENT = "llm"
URL, KEY = os.environ["HERMES_BASE_URL"], os.environ["HERMES_API_KEY"]
LLM = str(pathlib.Path(sys.executable).with_name("llm"))
folder = pathlib.Path(os.environ["HOME"]) / "llm"
folder.mkdir()
models = [{"model_id": name, "model_name": "default", "api_base": URL, "api_key_name": name} for name in ("hermes", "wrong")]
# JSON is YAML.
(folder / "extra-openai-models.yaml").write_text(json.dumps(models))
(folder / "keys.json").write_text(json.dumps({"hermes": KEY, "wrong": "wrong-key-of-" + CLIENT}))


def ask(*arguments, model="hermes"):
    environment = {**os.environ, "LLM_USER_PATH": str(folder)}
    return subprocess.run([LLM, "-m", model, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def answer(*arguments):
    done = ask(*arguments)
    assert done.returncode == 0, done
    return done.stdout.strip()


def plain():
    assert answer("--no-stream", "plain") == "pong"


def stream():
    assert answer("plain") == "pong"


def conversation():
    assert answer("how many") == "1"
    assert answer("-c", "how many") == "3"


def wrong_key():
    done = ask("plain", model="wrong")
    assert done.returncode != 0 and "Invalid API key" in done.stderr, done


def permanent():
    done = ask("deny " + CLIENT)
    assert done.returncode != 0 and "no such account" in done.stderr, done


def temporary():
    assert answer("busy " + CLIENT) == "at last"


def cancel():
    reading = subprocess.Popen(
        [LLM, "-m", "hermes", "endless " + CLIENT], env={**os.environ, "LLM_USER_PATH": str(folder)}, stdout=subprocess.PIPE
    )
    assert reading.stdout.read(5)
    reading.terminate()
    reading.wait()


for case in (plain, stream, conversation, wrong_key, permanent, temporary, cancel):
    case()
    print("ok", case.__name__, flush=True)
