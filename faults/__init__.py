"""Faults: their descriptions, seeded schedules, and the agent that injects them in containers."""
