"""Targets of a user's, each with one fault in its own code.

`written` makes the file of one. Its client talks to nobody: it keeps a dictionary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

FAULTS: Final[dict[str, str]] = {
    "none": "",
    "start": "node = lambda self, *a: 1 / 0",
    "node type": "node = lambda self, *a: 'redis-server'",
    "client": "client = lambda self, *a: [][0]",
    "client type": "client = lambda self, *a: object()",
    "quorum type": "quorum = lambda self, cluster: 'most'",
    "settings type": "settings = lambda self, given: [given]",
    "exit": "check = lambda self, cluster: __import__('sys').exit(0)",
    "hang": "def check(self, cluster):\n        while True:\n            pass",
    "image type": "image = lambda self, images: None",
    "connect": "CONNECT = 'raise KeyError(7)'",
    "send": "SEND = 'raise LookupError(chr(27) + \"[2J\")'",
    "task": "SEND = 'asyncio.ensure_future(broken())'",
    "exit in a task": "SEND = 'asyncio.ensure_future(leave())'",
    "hang in a task": "SEND = 'asyncio.ensure_future(spin())'",
    "wrong type": "SEND = 'answered((None, 1))'",
    "unhashable error": "SEND = 'answered(Response([1]))'",
    "unhashable value": "SEND = 'answered(Response(None, {1, 2}))'",
    "not a number": "SEND = 'answered(Response(None, math.nan))'",
    "no such leader": "SEND = 'answered(Response(\"not-leader\", None, 99, definite=True))'",
    "twice": "SEND = 'answer(); answer()'",
    "in a thread": "SEND = 'threading.Thread(target=answer).start()'",
    "status": "STATUS = 'raise AttributeError(1)'",
    "status type": 'STATUS = \'return {"role": "leader"}\'',
    "status of another": "STATUS = 'return NodeStatus(node=9, role=\"leader\")'",
    "close": "CLOSE = 'raise OSError(5)'",
    "close hangs": "CLOSE = 'await asyncio.sleep(1000)'",
}
"""What stands in the class of the target, by a name."""

_SOURCE: Final = '''
import asyncio, math, threading, time
from antipaxos import Capabilities, ClusterSpec, NodeSpec, NodeStatus, Request, Response

STORE = {{}}


async def broken():
    raise RuntimeError("a task of the library broke")


async def leave():
    raise SystemExit(0)


async def spin():
    while True:
        pass


class Target:
    name = "faulty"
    summary = "faulty"
    client_port = 7001
    artifacts = {{}}
    capabilities = Capabilities(sessions=True)
    CONNECT = SEND = STATUS = CLOSE = ""

    def settings(self, given):
        if given:
            raise ValueError("there are no settings")
        return {{}}

    def check(self, cluster):
        pass

    def quorum(self, cluster):
        return 1

    def image(self, images):
        return images.own()

    def node(self, node, addresses, cluster, seed):
        return NodeSpec(entrypoint=("sleep",), command=("1000",))

    def client(self, node, host, port, cluster):
        return client_class(self)(node)

    {fault}


def client_class(target):
    def indented(code, instead):
        return code or instead

    source = f"""
class Client:
    problems = 0

    def __init__(self, node):
        self.node, self.is_open = node, False

    async def connect(self):
        {{indented(target.CONNECT, 'self.is_open = True')}}
        return True

    def send(self, request, answered):
        def answer():
            if request.f == "write":
                STORE[request.key] = request.value
            if request.f == "cas" and STORE.get(request.key) == request.value[0]:
                STORE[request.key] = request.value[1]
            elif request.f == "cas":
                answered(Response("mismatch", STORE.get(request.key), definite=True))
                return
            answered(Response(None, STORE.get(request.key) if request.f == "read" else None))

        {{indented(target.SEND, 'answer()')}}

    async def status(self, timeout_s):
        {{indented(target.STATUS, 'return None')}}

    async def close(self):
        {{indented(target.CLOSE, 'pass')}}
"""
    names = globals()
    exec(compile(source, __file__, "exec"), names)
    return names["Client"]


TARGETS = (Target(),)
'''


def written(folder: Path, fault: str) -> Path:
    """The file of the target with this fault."""
    path = folder / f"{fault.replace(' ', '_')}.py"
    path.write_text(_SOURCE.format(fault=FAULTS[fault]))
    return path


def client_of(target: Any, node: int = 1) -> Any:
    """A client of such a target, as it is."""
    return target.client(node, "127.0.0.1", 1, None)
