"""The export of a trained model to other programs' formats: each format's module has `write` and `read`."""
