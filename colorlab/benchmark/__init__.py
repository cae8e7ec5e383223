"""colorlab measured against what people use; one benchmark a module.

A benchmark module has `add_arguments(parser)`, its options, and `run(options)`, which
measures and returns a `Result`; `__main__.BENCHMARKS` names it in a line.
"""
