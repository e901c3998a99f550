"""Faults in existing containers: `antipaxos inject`, and `antipaxos.faults`.

containers.py    which containers, and which are refused
session.py       agents join the containers, inject, heal, and go
limits_guard.py  restores limits when this program is killed
api.py           the interface for Python programs
"""
