"""A mailbox for the tests: a real IMAP server (pymap) and a real SMTP server (aiosmtpd), on loopback, until standard input ends.

Arguments: a directory, the address of the account, its password; then `no-idle`, and `tls=CERT,KEY` (IMAP from the first byte, SMTP by STARTTLS).
Says three ports on a line of its own: IMAP, SMTP, and IMAP for the tests alone. What is sent is written into the directory, a file a mail. Standard input takes a command a line, as
JSON, and each is answered by a line."""

import asyncio
import dataclasses
import json
import os
import ssl
import sys
import warnings
from argparse import Namespace

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from pymap.backend.dict import DictBackend
from pymap.imap import IMAPServer
from proxyprotocol.reader import ProxyProtocolReader
from proxyprotocol.version import ProxyProtocolVersion
from pymap.user import Passwords

warnings.simplefilter("ignore")
place, address, password = sys.argv[1:4]
options = sys.argv[4:]
has_idle = "no-idle" not in options
pair = next((option[4:].split(",") for option in options if option.startswith("tls=")), None)


class World:
    """What the tests look at and change."""

    def __init__(self):
        self.connections = {"imap": 0, "smtp": 0}
        self.logins = 0
        self.open = set()
        self.password = password
        # What the next try of a kind is answered with.
        self.faults = {}
        self.count = 0


world = World()


def fault(kind):
    waiting = world.faults.get(kind, [])
    return waiting.pop(0) if waiting else None


class Handler:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, sender, options):
        said = fault("mail")
        if said:
            return said
        envelope.mail_from = sender
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, to, options):
        said = fault("rcpt")
        if said:
            return said
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        said = fault("data")
        if said == "cut":
            # It is not taken, and nobody hears so.
            server.transport.abort()
            return "451 cut"
        if said and said != "lose":
            return said
        world.count += 1
        name = f"{place}/{world.count:04}"
        head = json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None})
        with open(f"{name}.part", "wb") as file:
            file.write(head.encode() + b"\n" + envelope.original_content)
        os.rename(f"{name}.part", f"{name}.mail")
        if said == "lose":
            server.transport.abort()
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    said = fault("auth")
    if said:
        return AuthResult(success=False, handled=False, message=said)
    good = (
        isinstance(data, LoginPassword)
        and data.login.decode() == address
        and data.password.decode() == world.password
    )
    return AuthResult(success=good, handled=False)


def smtp(tls):
    world.connections["smtp"] += 1
    return SMTP(
        Handler(),
        hostname="mail.test",
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=tls is not None,
        require_starttls=tls is not None,
        tls_context=tls,
        decode_data=False,
        data_size_limit=64 << 20,
    )


async def forward(reader, writer, port):
    """Between a client and pymap: what is cut is cut here."""
    world.connections["imap"] += 1
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    world.open.add(writer)

    async def pump(read, sink, change):
        try:
            while data := await read():
                sink.write(change(data))
                await sink.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            sink.close()

    def outward(data):
        if b"CAPABILITY" in data and not has_idle:
            return data.replace(b" IDLE", b"")
        return data

    def inward(data):
        if b" LOGIN " in data or b" AUTHENTICATE " in data:
            world.logins += 1
        said = fault("fetch") if b" UID FETCH " in data else None
        if said == "bye":
            writer.write(b"* BYE going down\r\n")
            writer.close()
            return b""
        if said:
            writer.write(data.split(b" ", 1)[0] + b" " + said.encode() + b"\r\n")
            return b""
        return data

    try:
        # What a client says is looked at line by line: a command may come in pieces.
        said, answered = reader.readline, lambda: inner_reader.read(65536)
        await asyncio.gather(pump(said, inner_writer, inward), pump(answered, writer, outward))
    except asyncio.CancelledError:
        pass
    finally:
        world.open.discard(writer)


async def command(asked, login, config):
    what = asked["do"]
    if what == "stats":
        return {**world.connections, "logins": world.logins}
    if what == "password?":
        return {"is": world.password}
    if what == "cut":
        for writer in list(world.open):
            writer.transport.abort()
    elif what == "fail":
        world.faults.setdefault(asked["at"], []).append(asked["say"])
    elif what == "password":
        world.password = asked["to"]
        hashed = await Passwords(config).hash_password(world.password)
        known = login.users_dict[address]
        login.users_dict[address] = dataclasses.replace(known, password=hashed)
    return {}


async def main():
    args = Namespace(
        demo_data=False, demo_user=address, demo_password=password, host=["127.0.0.1"], port=0, cert=None, key=None,
        tls=False, proxy_protocol=None, debug=False, inherited_sockets=None, passlib_cfg=None, insecure_login=True,
    )
    backend, config = await DictBackend.init(args)
    config.apply_context()
    plain = ProxyProtocolReader(ProxyProtocolVersion.get(None))
    serve = plain.get_callback(IMAPServer(backend.login, config))
    inner = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = inner.sockets[0].getsockname()[1]
    tls = None
    if pair:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*pair)
    outer = await asyncio.start_server(lambda r, w: forward(r, w, port), "127.0.0.1", 0, ssl=tls)
    sending = await asyncio.get_running_loop().create_server(lambda: smtp(tls), "127.0.0.1", 0)
    print(*(one.sockets[0].getsockname()[1] for one in (outer, sending, inner)), flush=True)
    commands = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        print(json.dumps(await command(json.loads(line), backend.login, config)), flush=True)
    os._exit(0)


asyncio.run(main())
