"""Benchmarks: real processes on the loopback address, bounded in count and time. They print figures; they judge nothing.

`python -m tests.benchmarks WHAT` (or `just bench WHAT`). What the figures mean: docs/explanation/performance.md.
"""
