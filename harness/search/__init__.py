"""Many runs: random configurations, sweeps of seeds, the mutation score."""
