"""`python3 -m faults.agent`: see `faults.agent.server`."""

from __future__ import annotations

import argparse

from faults.agent import allocator
from faults.agent.left_behind import Known
from faults.agent.namespaces import SCOPE
from faults.agent.operations import Operations
from faults.agent.probe import PORT
from faults.agent.server import Server


def main() -> None:
    """Runs as process 1 of a container, until it is stopped or its controller has been gone for a
    while."""
    parser = argparse.ArgumentParser(prog="python3 -m faults.agent", description=__doc__)
    parser.add_argument("--probe-port", type=int, default=PORT, help="UDP port for probes")
    parser.add_argument(
        "--linger-s",
        type=float,
        default=120.0,
        help="how long to stay, healed, after the controller is gone (default: %(default)s)",
    )
    parser.add_argument(
        "--target-pid",
        type=int,
        default=None,
        help="act on the container in which this process of the host runs, not on this one",
    )
    parser.add_argument(
        "--after-killed",
        action="store_true",
        help="with --target-pid: an agent that acted on that container was killed",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="with --target-pid: that agent had paused its processes",
    )
    options = parser.parse_args()
    allocator.keep_little()
    known = None
    if options.target_pid is not None:
        SCOPE.confine_to(options.target_pid)
        known = Known(was_killed=options.after_killed, had_paused=options.resume)
    Server(Operations(options.probe_port, known), options.linger_s).serve()


if __name__ == "__main__":
    main()
