"""The export of a trained model to other programs' formats: each format's module has `write` and `read`."""

LICENSES = (
    "colorlab's code is under the MIT license. The license of the weights is the choice of whoever trained them; the"
    " built-in weights were trained on photographs that are in the public domain or under CC0."
)
"""The license of the code and of the weights, for model cards and for the metadata of exported files."""
