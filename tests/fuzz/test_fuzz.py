"""schemathesis over the whole API as administrator, member and stranger: no 5xx, nothing undocumented, nothing of somebody else."""

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rustygpt.app import routes_of
from rustygpt.http.openapi import build_document
from tests.auth.oauth.provider import tiny_provider
from tests.fuzz.closed import closed
from tests.fuzz.run import Amount, run
from tests.fuzz.world import Kind, Maker
from tests.site import Site, serving, settings_for

EXAMPLES = int(os.environ.get("RUSTYGPT_FUZZ_EXAMPLES", "0"))
"""For a longer look, with a seed of chance: `just fuzz`."""
EVERYTHING = "coverage,fuzzing,stateful"
SHORT: dict[Kind, list[Amount]] = {
    "stranger": [Amount(2, "fuzzing")],  # nearly all is a 401
    "member": [Amount(3, EVERYTHING)],
    "administrator": [Amount(2, "fuzzing"), Amount(2, "coverage", tag="Administration")],  # the rest a member may do, too
}


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site whose streams end at once, since schemathesis reads answers to their end, and whose providers are near."""
    sse = {"max_lifetime_seconds": 0.01, "heartbeat_seconds": 0.05}
    assistant = {"max_queued_per_user": 1_000, "max_queued": 10_000}
    async with tiny_provider() as provider:
        oauth = {**provider.settings(), "manual_enabled": True}
        async with serving(settings_for(data_dir, sse=sse, assistant=assistant, oauth=oauth), dsn) as served:
            yield served


def document_of(site: Site) -> dict[str, Any]:
    """The site's own description, closed."""
    return closed(build_document(routes_of(site.application), version="fuzzed"))


@pytest.mark.parametrize("kind", list(SHORT))
async def test_every_answer_is_as_described(kind: Kind, site: Site, owner: asyncpg.Connection, tmp_path: Path) -> None:
    """Made-up requests about real things, good and bad, get what the description says, and never what is somebody else's."""
    world = await Maker(site.url, owner).make(kind)
    longer = [Amount(EXAMPLES, EVERYTHING, is_repeatable=False, seconds=7_200)]
    for amount in longer if EXAMPLES else SHORT[kind]:
        outcome = await run(site.url, document_of(site), world, tmp_path, amount)
        sys.stdout.write(outcome.output)
        assert outcome.code == 0, outcome.output
        assert outcome.cases > 100


async def test_what_is_foreign_or_unnamed_is_noticed(site: Site, owner: asyncpg.Connection, tmp_path: Path) -> None:
    """Were a conversation told to others, or a field that the description lacks, the test above would fail."""
    world = await Maker(site.url, owner).make("member")
    world.marks = ["Hello"]  # what the member's own conversations are called
    document = document_of(site)
    document["paths"] = {"/api/conversations": {"get": document["paths"]["/api/conversations"]["get"]}}
    conversation = document["components"]["schemas"]["Conversation"]
    del conversation["properties"]["title"]
    conversation["required"].remove("title")
    outcome = await run(site.url, document, world, tmp_path, Amount(1, "fuzzing"))
    assert outcome.code == 1
    assert re.search(r"nothing_foreign`: 1$", outcome.output, re.MULTILINE), outcome.output
    assert re.search(r"Response violates schema: 1$", outcome.output, re.MULTILINE), outcome.output
