"""Search over many runs: drawn configurations, sweeps of seeds, the mutation score."""
