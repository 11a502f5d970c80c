"""schemathesis as a process of its own, as one kind of caller, against a served site; its exit code and everything that it said."""

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.world import World

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "nothing_foreign",
    "strangers_get_nothing",
)


@dataclass(frozen=True)
class Amount:
    """How long it looks: *examples* for each operation (of one *tag*); *phases* are schemathesis'. What is not repeatable tells its seed."""

    examples: int
    phases: str
    tag: str = ""
    is_repeatable: bool = True
    seconds: float = 900.0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    code: int
    output: str

    @property
    def cases(self) -> int:
        """How many requests it made up."""
        found = re.search(r"(\d+) generated", self.output)
        return int(found[1]) if found else 0


async def run(url: str, document: dict[str, Any], world: World, folder: Path, amount: Amount) -> Outcome:
    """Run it until its end. Raises TimeoutError, after killing it."""
    (folder / "world.json").write_text(json.dumps(world.as_json()), encoding="utf-8")
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run", str(folder / "openapi.json")),
        *("--url", url, "--checks", ",".join(CHECKS), "--phases", amount.phases, "--workers", "1", "--no-color"),
        *("--max-examples", str(amount.examples), *(["--generation-deterministic"] if amount.is_repeatable else [])),
        *(["--include-tag", amount.tag] if amount.tag else []),
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "RUSTYGPT_FUZZ_WORLD": str(folder / "world.json"), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        async with asyncio.timeout(amount.seconds):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Outcome(process.returncode or 0, output.decode(errors="replace"))
