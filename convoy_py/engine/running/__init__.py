"""How work runs: locks, threads and their limits, jobs, and what goes on in the background."""
