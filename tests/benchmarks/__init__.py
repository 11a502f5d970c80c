"""Benchmarks: real processes on the loopback address, bounded in count and time. They print figures; they judge nothing.

`python -m tests.benchmarks stream` (or `just bench stream`). What the figures mean: docs/explanation/performance.md.
"""
