"""Identifiers, one type each, so that a user's id cannot be passed for a conversation's.

Ids are UUIDv7 (RFC 9562, section 5.7): they sort by the millisecond in which they were made.
"""

import os
import time
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
SessionId = NewType("SessionId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
ConversationId = NewType("ConversationId", UUID)
MessageId = NewType("MessageId", UUID)
Position = NewType("Position", int)
"""A place in the event log: 0 is before the first event, and positions are dense and in commit order."""


def new_uuid() -> UUID:
    """Return a fresh UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def parse_uuid(text: str) -> UUID:
    """Parse the canonical 36-character form. Raises ValueError for anything else.

    `uuid.UUID` also takes braces, URNs and bare hex; one id must have one spelling in URLs and logs.
    """
    if len(text) != 36:
        raise ValueError("not a UUID")
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError("not a UUID")
    return value
