"""`antipaxos failover`: how long clients are not served when a leader fails.

plan.py       what is measured, in which order: targets, failures, swept settings, healthy periods
failures.py   the failures by name, and the nodes that they affect
probe.py      open-loop clients around a loop of failures, driven by either runtime
windows.py    unavailability windows and their phases, from what the probe saw and nodes logged
measure.py    the runs of a plan
result.py     what was measured
regress.py    comparison with an earlier result
files.py      JSON, CSV, HdrHistogram logs and the page
burners.py    processes that keep the machine busy
"""
