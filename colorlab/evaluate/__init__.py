"""The command `python -m colorlab.evaluate`: evaluate trained models on photographs."""
