"""Benchmarks that are commands: leader failover, and the trade-offs between protocols.

failover   `antipaxos failover`
compare    `antipaxos compare`
stats      quantiles with bootstrap intervals over independent observations
"""
