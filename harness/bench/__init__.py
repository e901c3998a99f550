"""Benchmarks that are commands: leader failover, and the trade-offs between protocols.

probe      open-loop clients around a loop of failures, on any runtime
windows    from what the probe saw: unavailability windows and their phases
stats      quantiles with bootstrap intervals over failures
failover   the plan over targets and faults, and its result
"""
