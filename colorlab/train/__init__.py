"""The command `python -m colorlab.train`: train one experiment, or a sweep of them."""
