"""`rustygpt models`: pulls, lists and removes, beside a server and without one."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

from rustygpt.cli.failure import ExitCode
from tests.cli.command import rustygpt
from tests.models.conftest import library_settings
from tests.models.file_server import file_server
from tests.models.pulling import model_ids
from tests.person import Person
from tests.site import serving
from tests.story_model import write_story_model


def variables(dsn: str, data_dir: Path) -> dict[str, str]:
    """What a command of that server's operator has set."""
    models = {"ALLOW_PRIVATE_ADDRESSES": "true", "MIN_FREE_BYTES": "0", "RETRY_SECONDS": "0"}
    named = {f"RUSTYGPT__MODELS__{name}": value for name, value in models.items()}
    return {"DATABASE_URL": dsn, "RUSTYGPT_DATA_DIR": str(data_dir), "OLLAMA_BASE_URL": "http://127.0.0.1:9", **named}


async def run(*arguments: str, cwd: Path, extra: Mapping[str, str]) -> CompletedProcess[str]:
    """Run a command while this process serves."""
    return await asyncio.to_thread(rustygpt, "models", *arguments, cwd=cwd, extra=extra)


async def test_command_pulls_by_itself_where_nobody_serves(dsn: str, tmp_path: Path, data_dir: Path) -> None:
    """Pull, list, remove; a name that is taken, a source that fails and one that makes no sense have their exit codes."""
    write_story_model(tmp_path / "story.gguf")
    story = (tmp_path / "story.gguf").read_bytes()
    extra = variables(dsn, data_dir)
    async with file_server() as files:
        url = files.put("/story.gguf", story)
        done = await run("pull", url, cwd=tmp_path, extra=extra)
        assert (done.returncode, done.stdout) == (0, f"Pulled story ({len(story) / 1000:.1f} KB).\n"), done.stderr
        assert (data_dir / "models" / "story.gguf").read_bytes() == story
        assert (await run("pull", url, cwd=tmp_path, extra=extra)).returncode == ExitCode.FAILURE
        missing = await run("pull", f"{files.url}/none.gguf", "--json", cwd=tmp_path, extra=extra)
        assert (missing.returncode, json.loads(missing.stdout)["code"]) == (ExitCode.FAILURE, "source_refused")
        assert "status 404" in missing.stderr
    wrong = await run("pull", "file:///etc/passwd", cwd=tmp_path, extra=extra)
    assert (wrong.returncode, "http or https" in wrong.stderr) == (ExitCode.USAGE, True)
    listed = await run("list", "--json", cwd=tmp_path, extra=extra)
    assert [item["id"] for item in json.loads(listed.stdout)["items"]] == ["story", "demo"]
    assert (await run("rm", "story", cwd=tmp_path, extra=extra)).stdout == "Deleted story.\n"
    assert (await run("rm", "story", cwd=tmp_path, extra=extra)).returncode == ExitCode.FAILURE
    assert "demo" in (await run("list", cwd=tmp_path, extra=extra)).stdout


async def test_running_server_does_the_pull(dsn: str, tmp_path: Path, data_dir: Path) -> None:
    """The job is the server's, the file goes to its folder, and the command shows the end; what is removed is gone for the server too."""
    write_story_model(tmp_path / "story.gguf")
    extra = variables(dsn, tmp_path / "elsewhere")
    async with (
        file_server() as files,
        serving(library_settings(data_dir), dsn) as site,
        await Person(site.url).set_up("Ada") as ada,
    ):
        url = files.put("/story.gguf", (tmp_path / "story.gguf").read_bytes())
        done = await run("pull", url, "--name", "tale", "--json", cwd=tmp_path, extra=extra)
        assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "done"), done.stderr
        assert (data_dir / "models" / "tale.gguf").exists()
        assert await model_ids(ada) == ["tale", "demo"]
        gone = await run("rm", "tale", cwd=tmp_path, extra={**extra, "RUSTYGPT_DATA_DIR": str(data_dir)})
        assert gone.returncode == 0, gone.stderr
        async with asyncio.timeout(60):
            while "tale" in await model_ids(ada):  # noqa: ASYNC110 - a client polls
                await asyncio.sleep(0.05)
