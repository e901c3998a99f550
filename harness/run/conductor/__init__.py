"""The run as a pure state machine: who asks what when, which fault strikes when, what is recorded.

    phases.py    the conductor itself: warm-up, chaos, heal, finale, and how one leads to the next
    traffic.py   operations under way: arrivals, attempts, time-outs, how each one ends
    nemesis.py   faults under way: when each strikes, and when it is taken back
    journal.py   the events of the history, in their order, and the counts for the display
    timers.py    what was put off until later

It knows neither sockets nor clocks: a runtime (`harness.runtimes.interface`) drives it, with real
time or virtual. Everything random here comes from streams named after the seed.
"""

from harness.run.conductor.phases import PHASES, Conductor
from harness.run.conductor.recorder import Stats

__all__ = ["PHASES", "Conductor", "Stats"]
