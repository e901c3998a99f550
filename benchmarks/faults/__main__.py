"""`python -m benchmarks.faults [PART...]`, as root on Linux with gcc.

Figures in docs/faults.md come from here.

Agents run in network and PID namespaces of their own, joined by a bridge, without containers; but
for `cluster` and `throughput`, which are runs in Docker.
"""

from __future__ import annotations

import argparse

from benchmarks.faults import disk, network
from benchmarks.machine import describe

PARTS = {
    "shapes": network.shapes,
    "times": network.times,
    "load": network.load,
    "leftovers": network.leftovers,
    "fsyncs": disk.fsyncs,
    "cluster": disk.cluster,
    "throughput": disk.throughput,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    chosen = parser.parse_args().parts or list(PARTS)
    print(describe())
    for name in chosen:
        print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
