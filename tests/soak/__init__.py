"""The soak: real processes are killed for minutes under readers that record everything, and every record is compared with the log.

`python -m tests.soak` (or `just soak`). What it shows and what its words mean: docs/explanation/durability.md.
"""
