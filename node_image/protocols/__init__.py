"""Consensus protocols: each a pure state machine (see `interface`), made of parts.

    basic_paxos, multi_paxos, flexible_paxos, fast_paxos, epaxos, raft, two_phase_commit

are the protocols; `docs/protocols/` lists the parts of each.
"""
