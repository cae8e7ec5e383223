"""Sweeps of many runs: the names of the jobs, the report at the end, and the search for the best run."""
