"""Conversations and who belongs to them."""
