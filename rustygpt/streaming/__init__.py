"""The durable SSE coordinator.

A subscriber is a reader of a durable log at a cursor; the in-memory ring caches the log's tail; the bus only says "there is more".
Resume, slow reader, second tab and lost wake-up are then one thing: read on from the cursor.
"""
