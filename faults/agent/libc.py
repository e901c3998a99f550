"""The system calls that Python has no function for, through the C library.

Debian's smallest Python has no ctypes; then each of them raises Unsupported.
"""

from __future__ import annotations

import os
import platform
from typing import Any, Final

from faults.agent.errors import Unsupported

CLONE_FS: Final = 0x00000200
CLONE_NEWNS: Final = 0x00020000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_REC_PRIVATE: Final = 0x4000 | 0x40000
MNT_DETACH: Final = 2
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10
"""Modes of fallocate."""
PTRACE_CONT: Final = 7
PTRACE_DETACH: Final = 17
PTRACE_INTERRUPT: Final = 0x4207
PTRACE_SEIZE: Final = 0x4206
PTRACE_LISTEN: Final = 0x4208
PTRACE_O_TRACEEXEC: Final = 0x10
TGKILL: Final = {"x86_64": 234, "aarch64": 131}
"""The number of the system call tgkill(2), for which older C libraries have no function."""

try:
    import ctypes
except ImportError:
    ctypes = None  # type: ignore[assignment]

_libc: Any = ctypes.CDLL(None, use_errno=True) if ctypes is not None else None


def available() -> bool:
    return _libc is not None


def _call(name: str, *arguments: Any) -> int:
    if _libc is None:
        raise Unsupported(
            "this Python has no ctypes, which this needs",
            "use a base image with the full Python 3 (Debian: the package python3)",
        )
    result = int(getattr(_libc, name)(*arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _long(value: int) -> Any:
    return ctypes.c_long(value)


def fallocate(file: int, mode: int, offset: int, length: int) -> None:
    _call("fallocate", file, mode, ctypes.c_int64(offset), ctypes.c_int64(length))


def unshare(flags: int) -> None:
    _call("unshare", flags)


def setns(namespace: int, flags: int) -> None:
    _call("setns", namespace, flags)


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    words = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags))
    _call("mount", *words, options.encode())


def unmount(target: str) -> None:
    """Lazily: removed from the namespace at once, even while it is in use."""
    _call("umount2", target.encode(), MNT_DETACH)


def ptrace(request: int, pid: int, data: int = 0) -> None:
    _call("ptrace", _long(request), _long(pid), _long(0), _long(data))


def signal_thread(pid: int, tid: int, number: int) -> None:
    """Send a signal to one thread of a process."""
    call = TGKILL.get(platform.machine())
    if call is None:
        raise Unsupported("the agent does not know this machine's system calls", "use x86-64")
    _call("syscall", _long(call), _long(pid), _long(tid), _long(number))
