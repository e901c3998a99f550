"""The agent's memory does not grow with the starts of its node.

Each start has a mount of its own, served by threads with large buffers. What glibc keeps of the
memory of such threads was 28 MB after 24 schedules of random faults (`faults.agent.allocator`).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.agent.pods import ROOT

GROWTH_KIB_MAX: Final = 1_500
"""Without the agent's settings it is some 4,500, with them less than 100."""

STARTS = """
import os, sys, threading
from pathlib import Path
from faults.agent import allocator

allocator.keep_little()
sys.setswitchinterval(0.0005)  # as the agent does it
from tests.faults.agent.test_disk_fuse import Mounted

def resident_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

def start_again():
    disk.unmount()
    disk.mount()

disk = Mounted(Path(sys.argv[1]))
sizes = []
for start in range(40):
    for _ in range(5):
        with (disk.at / "log").open("ab", buffering=0) as log:
            log.write(b"x" * 400_000)
            os.fsync(log.fileno())
    thread = threading.Thread(target=start_again)
    thread.start()
    thread.join()
    sizes.append(resident_kib())
disk.unmount()
disk.store.shut()
print(sizes[-1] - sizes[2])
"""


@pytest.mark.netns
def test_starts_of_the_node_leave_no_memory_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < GROWTH_KIB_MAX
