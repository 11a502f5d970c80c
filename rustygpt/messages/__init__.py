"""Threads and messages: posting, answering, reading. A thread is a list in time order whose messages name their parents."""
