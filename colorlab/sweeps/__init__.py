"""Many runs of one command: their names, the report at the end, and the search for the best of them."""
