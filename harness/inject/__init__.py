"""Faults in existing containers: `antipaxos inject`, and `antipaxos.faults`.

containers.py     which containers, and which are refused
parse_options.py  from options to faults: amounts with units, and the containers they affect
session.py        agents join the containers, inject, heal, and go
limits_guard.py   restores limits when this program is killed
api.py            the interface for Python programs
"""
