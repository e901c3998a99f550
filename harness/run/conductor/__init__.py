"""The run as a pure state machine: clients' requests, faults, and the recorded events.

    phases.py    the conductor itself: warm-up, chaos, heal, finale, and the transitions
    traffic.py   operations in progress: arrivals, attempts, time-outs, how each one ends
    nemesis.py   active faults: when each is injected, and when it is healed
    recorder.py  the events of the history, in their order, and the counts for the display
    timers.py    actions scheduled for later

It uses neither sockets nor clocks: a runtime (`harness.runtimes.interface`) drives it, in real or
virtual time. All random numbers come from streams derived from the seed.
"""

from harness.run.conductor.phases import PHASES, Conductor
from harness.run.conductor.recorder import Stats

__all__ = ["PHASES", "Conductor", "Stats"]
