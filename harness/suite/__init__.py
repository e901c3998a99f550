"""Nightly suites: a plan in TOML, carried out within its budget and reported in the morning.

plan       the file: what is refused
lines      where something stands in it
cells      its rows: combinations of targets, workloads, faults, sizes and seeds; failover
jobs       one job, and what it came to
work       carrying out one job
apart      a job in a process of its own
elsewhere  a job on another machine
night      one night: its folder, its lock, the jobs, resuming
running    all jobs of a night, within its budget
failovers  measurements of failover, compared with earlier ones
findings   failures by signature: confirmed, shrunk, compared with earlier nights
location   where in the protocol a failure arose
index      all nights in SQLite, which can be rebuilt from their folders
outputs    JUnit, Prometheus, GitHub's step summary, a webhook
pages      the page of a night, and the page over the nights
keep       retention: what is compressed, and what is removed
"""
