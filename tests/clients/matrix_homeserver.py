"""A homeserver of Matrix (Synapse) for the tests: on loopback, in the directory that it is given, until its standard input ends.

Says its port on a line of its own before it starts."""

import base64
import json
import os
import socket
import sys
import threading

place = sys.argv[1]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

much = {"per_second": 100000, "burst_count": 100000}
config = {
    "server_name": "hs.test",
    "pid_file": f"{place}/pid",
    "report_stats": False,
    "signing_key_path": f"{place}/key",
    "trusted_key_servers": [],
    "suppress_key_server_warning": True,
    "federation_domain_whitelist": [],
    "listeners": [
        {
            "port": port,
            "bind_addresses": ["127.0.0.1"],
            "type": "http",
            "tls": False,
            "x_forwarded": False,
            "resources": [{"names": ["client"], "compress": False}],
        }
    ],
    "database": {"name": "sqlite3", "args": {"database": f"{place}/db"}},
    "log_config": f"{place}/log.yaml",
    "media_store_path": f"{place}/media",
    "macaroon_secret_key": "m",
    "form_secret": "f",
    "enable_registration": True,
    "enable_registration_without_verification": True,
    "bcrypt_rounds": 4,
    "presence": {"enabled": False},
    "rc_message": much,
    "rc_registration": much,
    "rc_admin_redaction": much,
    "rc_room_creation": much,
    "rc_login": {"address": much, "account": much, "failed_attempts": much},
    "rc_joins": {"local": much, "remote": much},
    "rc_joins_per_room": much,
    "rc_invites": {"per_room": much, "per_user": much, "per_issuer": much},
}
log = {
    "version": 1,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": f"{place}/log"}},
    "root": {"level": "WARNING", "handlers": ["file"]},
}
for name, what in [("homeserver.yaml", config), ("log.yaml", log)]:
    with open(f"{place}/{name}", "w") as file:
        json.dump(what, file)
with open(f"{place}/key", "w") as file:
    file.write("ed25519 a_test " + base64.b64encode(os.urandom(32)).decode().rstrip("=") + "\n")
print(port, flush=True)


def end_with_the_tests():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_the_tests, daemon=True).start()
sys.argv = ["homeserver", "-c", f"{place}/homeserver.yaml"]

from synapse.app import homeserver  # noqa: E402

homeserver.main()
