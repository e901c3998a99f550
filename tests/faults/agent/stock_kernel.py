"""Runs a command under another kernel: Debian's, in a plain emulated machine, with this machine's
file system, read-only, as its own.

    apt-get download linux-image-6.1.0-...-amd64 && dpkg -x linux-image-*.deb FOLDER
    apt-get install qemu-system-x86 busybox-static

No hardware virtualization is needed. The initial file system holds a static busybox and the modules
that are needed to mount the rest, and those that the command needs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

KERNEL_VARIABLE: Final = "ANTIPAXOS_KERNEL"
QEMU: Final = "qemu-system-x86_64"
BUSYBOX: Final = Path("/bin/busybox")
MOUNTING: Final = ("virtio_pci", "9pnet_virtio", "9p")
MEMORY_MB: Final = 1024
STATUS: Final = re.compile(r"^status of the command: (\d+)", re.MULTILINE)

INIT: Final = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /host
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /$module; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /host
/bin/busybox mount -t proc proc /host/proc
/bin/busybox mount -t sysfs sys /host/sys
/bin/busybox mount -t devtmpfs dev /host/dev
/bin/busybox mount -t tmpfs run /host/run
/bin/busybox mkdir -p /host/run/tmp
/bin/busybox cp /command /host/run/command
/bin/busybox umount /proc
exec /bin/busybox switch_root /host /bin/sh /run/command
"""


def missing() -> str:
    """Why no emulated machine can be started here; "" if it can."""
    folder = os.environ.get(KERNEL_VARIABLE)
    if not folder:
        return f"{KERNEL_VARIABLE} names no unpacked linux-image package of Debian"
    if not list(Path(folder).glob("boot/vmlinuz-*")):
        return f"{KERNEL_VARIABLE}: there is no boot/vmlinuz-* in {folder}"
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    if not BUSYBOX.exists():
        return "busybox-static is not installed"
    return ""


def run(
    command: Sequence[str],
    modules: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
) -> tuple[int, str]:
    """The command's exit status, and all output of the machine's console.

    Raises subprocess.TimeoutExpired; AssertionError when the machine did not finish.
    """
    kernel = Path(os.environ[KERNEL_VARIABLE])
    script = "\n".join(
        [
            "export TMPDIR=/run/tmp HOME=/run PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            f"cd {shlex.quote(str(folder))}",
            "ip link set lo up",
            shlex.join(command),
            'echo "status of the command: $?"',
            "echo o > /proc/sysrq-trigger",
            "sleep 60",
        ]
    )
    with tempfile.TemporaryDirectory() as place:
        initial = Path(place) / "initramfs"
        initial.write_bytes(b"".join(_archive(kernel, modules, script)))
        shown = subprocess.run(
            _machine(kernel, initial), check=False, timeout=timeout_s,
            capture_output=True, text=True, errors="replace",
        ).stdout.replace("\r", "")  # fmt: skip
    status = STATUS.search(shown)
    assert status, shown[-5_000:]
    return int(status[1]), shown


def _machine(kernel: Path, initial: Path) -> list[str]:
    (image,) = kernel.glob("boot/vmlinuz-*")
    return [
        QEMU, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY_MB), "-nodefaults",
        "-display", "none", "-no-reboot", "-serial", "stdio",
        "-kernel", str(image), "-initrd", str(initial),
        "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
    ]  # fmt: skip


def _archive(kernel: Path, modules: Sequence[str], script: str) -> Iterator[bytes]:
    """An initial file system, in cpio's "new ASCII" format."""
    available = {path.stem: path for path in kernel.glob("lib/modules/*/kernel/**/*.ko")}
    ordered: list[str] = []
    for name in (*MOUNTING, *modules):
        _with_dependencies(name, available, ordered)
    executable, plain = stat.S_IFREG | 0o755, stat.S_IFREG | 0o644
    yield _entry("bin", stat.S_IFDIR | 0o755, b"")
    yield _entry("bin/busybox", executable, BUSYBOX.read_bytes())
    yield _entry("init", executable, INIT.encode())
    yield _entry("command", plain, script.encode() + b"\n")
    yield _entry("modules", plain, " ".join(f"{name}.ko" for name in ordered).encode())
    for name in ordered:
        yield _entry(f"{name}.ko", plain, available[name].read_bytes())
    yield _entry("TRAILER!!!", 0, b"")


def _with_dependencies(name: str, available: Mapping[str, Path], ordered: list[str]) -> None:
    """Appends the module to `ordered`, behind those that it needs."""
    name = name if name in available else name.replace("_", "-")
    if name in ordered:
        return
    found = re.search(rb"\0depends=([^\0]*)\0", available[name].read_bytes())
    for needed in found[1].decode().split(",") if found else []:
        if needed:
            _with_dependencies(needed, available, ordered)
    ordered.append(name)


def _entry(name: str, mode: int, content: bytes) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
