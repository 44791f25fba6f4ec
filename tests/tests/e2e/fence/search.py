"""Looks for canaries from inside: `search.py KIND` waits until it is told what to try (`targets`), tries everything that it knows, writes
down what it got (`said-KIND`), and stays until it may go (`go`). The word that it looks for is put together as it runs."""

import ctypes
import json
import os
import re
import socket
import sys
import tempfile
import time

KIND = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))


def at(name):
    return os.path.join(HERE, name)


def wait_for(name):
    while not os.path.exists(at(name)):
        time.sleep(0.02)


wait_for("targets")
with open(at("targets")) as file:
    targets = json.load(file)
CANARY = re.compile(b"can" + b"ary-[a-z]+-[a-z]+-" + targets["mark"].encode())
libc = ctypes.CDLL(None, use_errno=True)
said = {"pid": os.getpid(), "user": os.getuid(), "read": [], "seen": [], "wrote": [], "connected": [], "found": [], "own": []}


def words(data):
    return sorted({word.decode() for word in CANARY.findall(data)})


def attempt(path):
    """Reads the beginning of a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return
    try:
        data = os.read(descriptor, 1 << 20)
    except OSError:
        return
    finally:
        os.close(descriptor)
    if data:
        said["read"].append(path)
        said["found"] += [[path, word] for word in words(data)]


def files():
    """Every file by every name that leads to it."""
    roots = ["/proc/self/root", "/proc/thread-self/root", f"/proc/{os.getppid()}/root", "/proc/1/root"]
    roots += [f"/proc/{pid}/root" for pid in targets["processes"]]
    # Whoever else can be entered.
    others = (f"/proc/{pid}/root" for pid in filter(str.isdigit, os.listdir("/proc")))
    roots += [root for root in others if root not in roots and os.path.isdir(root + "/.")]
    # Not in a directory that others list: what is their own is no find because a link of this one leads there.
    os.makedirs(at(f"links-{KIND}"), exist_ok=True)
    for number, path in enumerate(targets["files"]):
        link, hard = at(f"links-{KIND}/soft-{number}"), at(f"links-{KIND}/hard-{number}")
        beside = os.path.relpath(path, os.getcwd())
        os.symlink(path, link)
        try:
            if targets["changes"]:
                os.link(path, hard)
        except OSError:
            pass
        names = [path, link, hard, beside, "/proc/self/cwd/" + beside] + [root + path for root in roots]
        for name in names:
            attempt(name)
        if os.path.lexists(path):
            said["seen"].append(path)
        os.unlink(link)
    for path in targets["dirs"]:
        try:
            names = os.listdir(path)
        except OSError:
            names = []
        for name in names:
            attempt(os.path.join(path, name))
        try:
            if targets["changes"]:
                with tempfile.TemporaryFile(dir=path) as file:
                    file.write(b"x")
                said["wrote"].append(path)
        except OSError:
            pass


def process(pid):
    """Everything that leads into another process."""
    there = f"/proc/{pid}"
    for name in ["environ", "auxv", "maps", "smaps", "stack", "syscall", f"task/{pid}/environ", "cwd/.env", "cwd/profiles", "root/etc/hostname"]:
        attempt(f"{there}/{name}")
    for name in ["exe", "cwd", "root", "fd/0", "fd/3", "fd/4", "map_files"]:
        try:
            os.readlink(f"{there}/{name}") if name != "map_files" else os.listdir(f"{there}/{name}")
            said["read"].append(f"{there}/{name}")
        except OSError:
            pass
    for mode in [os.O_RDONLY, os.O_RDWR]:
        try:
            os.close(os.open(f"{there}/mem", mode))
            said["read"].append(f"{there}/mem")
        except OSError:
            pass
    # PTRACE_SEIZE, and PTRACE_DETACH after it.
    if libc.ptrace(0x4206, pid, None, None) == 0:
        said["read"].append(f"{there} by ptrace")
        libc.ptrace(17, pid, None, None)
    try:
        handle = os.pidfd_open(pid)
        for number in range(16):
            # pidfd_getfd
            if libc.syscall(438, handle, number, 0) >= 0:
                said["read"].append(f"{there} descriptor {number}")
        os.close(handle)
    except OSError:
        pass


def sockets():
    """Those that the gateway has by its own account, and by the kernel's."""
    found = set(targets["sockets"])
    with open("/proc/net/unix") as file:
        found |= {line.split()[-1] for line in file if targets["below"] in line}
    for path in sorted(found):
        for name in [path, "/proc/self/root" + path]:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    # An address has little room.
                    s.connect(os.path.relpath(name, os.getcwd()) if len(name) > 100 else name)
                    said["connected"].append(name)
            except OSError:
                pass


def environments():
    """Of all processes that there are."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                said["found"] += [[f"/proc/{pid}/environ", word] for word in words(file.read())]
        except OSError:
            pass


# First: what is opened later is its own.
said["inherited"] = sorted(
    int(number) for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")
)
said["own"] = words("\0".join(os.environ.values()).encode())
files()
for pid in targets["processes"]:
    process(pid)
sockets()
environments()
with open(at(f".said-{KIND}"), "w") as file:
    json.dump(said, file)
os.rename(at(f".said-{KIND}"), at(f"said-{KIND}"))
wait_for("go")
