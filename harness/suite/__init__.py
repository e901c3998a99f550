"""Nightly suites: a plan in TOML, carried out within its budget and reported in the morning.

plan       the file: a matrix of targets, workloads, faults, sizes and seeds; what is refused
jobs       one job, a run of one seed, and what it came to
night      one night: its folder, its lock, the jobs, resuming
findings   failures by signature: confirmed, shrunk, compared with earlier nights
index      all nights in SQLite, which can be rebuilt from their folders
outputs    JUnit, Prometheus, GitHub's step summary, a webhook
pages      the page of a night, and the page over the nights
keep       retention: what is compressed, and what is removed
"""
