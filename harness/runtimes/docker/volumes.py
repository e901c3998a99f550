"""Empties a node's volume, with a temporary container that mounts it.

The engine offers no way to delete files in a volume, and the node's own image may have no tools.
"""

from __future__ import annotations

import json
from typing import Final

from harness.runtimes.docker.engine import engine_errors, labels
from harness.runtimes.docker.pods import LOGS, Pod, PodEngine, cgroup_parent

DATA: Final = "/data"
"""Where this container mounts it, wherever the node does."""
ERASE: Final = f"""
import json, os, shutil
found = sum(len(files) for _, _, files in os.walk("{DATA}"))
for entry in os.scandir("{DATA}"):
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)
print(json.dumps([found, sum(len(files) for _, _, files in os.walk("{DATA}"))]))
"""


def erase_data(engine: PodEngine, pod: Pod) -> tuple[int, int]:
    """Delete all data of the node, while it is down. Returns the number of files found, and of
    those left. Blocks for about half a second."""
    api = engine.api
    with engine_errors(f"erasing the data of n{pod.node}"):
        host = api.create_host_config(
            cgroup_parent=cgroup_parent(),
            network_mode="none",
            binds=[f"{pod.volume}:{DATA}"],
            security_opt=["no-new-privileges"],
            log_config=LOGS,
        )
        made = api.create_container(
            engine.agent_image,
            entrypoint=["python3", "-c", ERASE],
            user="0:0",
            host_config=host,
            labels=labels(engine.run_id, "erase"),
        )
        try:
            api.start(made["Id"])
            api.wait(made["Id"], timeout=20)
            found, left = json.loads(api.logs(made["Id"], stderr=False) or "[0, -1]")
        finally:
            api.remove_container(made["Id"], force=True)
    return int(found), int(left)
