"""Faults in existing containers: `antipaxos inject`, and `antipaxos.faults`.

containers.py        which containers, and which are refused
parse_options.py     from options to faults: amounts with units, and the containers they affect
holders.py           which containers another session, or a run, has faults in
agent_containers.py  the containers of the agents
session.py           agents join the containers, inject, heal, and go
placing.py           faults with a session's numbers, reports with the containers' names
shared_sessions.py   nested blocks of one program use one session
limits_guard.py      restores limits when this program is killed
api.py               the interface for Python programs
"""
