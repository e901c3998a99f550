"""Benchmarks that are commands: leader failover, and the trade-offs between protocols.

probe      open-loop clients around a loop of failures, on any runtime
windows    unavailability windows and their phases, from the probe's samples
stats      quantiles with bootstrap intervals over failures
failover   the plan over targets and faults, and its result
"""
