"""The command `python -m colorlab.benchmark`: measure colorlab against other implementations.

A benchmark is a module with `add_arguments(parser)`, which adds its options, and `run(options)`, which measures and
returns a `Result`; `__main__.BENCHMARKS` lists it.
"""
