"""What can be done to a cluster: descriptions, seeded schedules, and the agent that does it."""
