"""The command `python -m colorlab.shards`: pack photographs into shards."""
