"""Nightly suites: a plan in TOML, carried out within its budget, and one report for the night.

plan           reads the file, and refuses what is wrong
toml_lines     finds the line of a table or key, for error messages
cells          the rows: combinations of targets, workloads, faults, sizes and seeds; failover
jobs           one job, and its result
work           carries out one job in this process
child_process  carries out one job in a child process
remote         carries out one job on another machine
night          one night: its folder, its lock, its jobs, and resuming it
execution      runs all jobs of a night within its budget
finish         confirms, shrinks and reports what a night has found
failovers      measurements of failover, compared with earlier ones
findings       failures by signature: confirmed, shrunk, compared with earlier nights
location       where in the protocol a failure arose
index          all nights in SQLite; it can be rebuilt from their folders
outputs        JUnit, Prometheus, GitHub's step summary, a webhook
pages          the page of a night, and the page over all nights
retention      compresses and removes old run folders
"""
