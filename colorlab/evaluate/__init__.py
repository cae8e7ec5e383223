"""The command `python -m colorlab.evaluate`: judge trained models on photographs."""
