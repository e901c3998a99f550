"""Why a node has ended during a fault because of which it may."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.runtimes.docker.injectors.cluster import Cluster
from harness.runtimes.docker.wants import Want, last_words


async def doubt_about_end(
    cluster: Cluster, node: int, state: Mapping[str, Any], want: Want, identity: str
) -> str | None:
    """Why a node that has ended during this fault may have crashed, in a sentence; None where it
    was for want of this, or another fault explains it. `state`: the container's, by the engine."""
    if want.is_shown_by(state, "") or cluster.why_down(node, but=identity):
        return None
    engine, container = cluster.engine, cluster.pods[node].node_id
    words = await asyncio.to_thread(last_words, engine, container, state)
    if want.is_shown_by(state, words):
        return None
    return (
        f"n{node} ended by itself (exit code {state['ExitCode']}), and nothing shows that it was "
        f"for want of {want.of}"
    )
