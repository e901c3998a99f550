"""Faults in containers that somebody else started: `antipaxos inject`, and `antipaxos.faults`.

containers.py    which containers, and which are refused
session.py       agents join the containers, inject, heal, and go
limits_guard.py  takes limits back when this program is killed
api.py           what a Python program uses
"""
