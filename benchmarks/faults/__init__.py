"""What was asked of a fault, what was seen, and how soon: `python -m benchmarks.faults`."""
