"""Fault 18: a backup is restored under the server. Positions that readers have will be given out again, for other events."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import OwnPostgres
from tests.faults.conftest import MakeServer, People
from tests.faults.observe import until
from tests.faults.recorder import assert_events, recording, recording_one
from tests.person import Person
from tests.races import connected


@pytest.fixture
def restorable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    """A PostgreSQL whose folder may be exchanged."""
    postgres = OwnPostgres(tmp_path_factory.mktemp("restorable"))
    postgres.start()
    yield postgres
    postgres.close()


def copy(source: Path, target: Path) -> None:
    """Copy a stopped cluster's folder as it is, owners included."""
    subprocess.run(["cp", "--archive", f"{source}/.", str(target)], check=True)


def restore(backup: Path, cluster: Path) -> None:
    """Put a backup in the place of a stopped cluster. The folder itself stays: the server knows it by its descriptor."""
    for entry in cluster.iterdir():
        subprocess.run(["rm", "-r", str(entry)], check=True)
    copy(backup, cluster)


async def test_fault_18_backup_restored_under_the_server(
    make_server: MakeServer, people: People, restorable: OwnPostgres, tmp_path: Path
) -> None:
    """The epoch is another, readers get a gap and go on; an old cursor is a gap also when its position is taken by another event."""
    server = make_server("one", restorable.dsn, SSE__HEAL_SECONDS=0.5)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    await ada.say(conversation, "in the backup")
    backup = tmp_path / "backup"
    backup.mkdir()
    await restorable.stop("fast")
    copy(restorable.cluster, backup)
    await restorable.start_again()
    async with recording(ada, path, "/api/stream") as recorders:
        for number in range(3):
            await say(ada, conversation, f"lost {number}")
        for recorder in recorders:
            await recorder.until(lambda r: "lost 2" in str([event.body for event in r.logged]))
        old = [recorder.last_id or "" for recorder in recorders]
        await restorable.stop("fast")
        restore(backup, restorable.cluster)
        await restorable.start_again()
        for recorder in recorders:
            await recorder.until(lambda r: r.gaps)
        for number in range(6):
            await say(ada, conversation, f"after {number}")
        for recorder, cursor in zip(recorders, old, strict=True):
            await recorder.until(lambda r: "after 5" in str([event.body for event in r.logged]))
            (gap,) = recorder.gaps
            assert (gap["reason"], gap["from"]) == ("unknown_cursor", cursor)
            assert epoch_of(gap["to"]) == epoch_of(recorder.last_id) != epoch_of(cursor)
            for url in gap["refetch"]:
                assert (await ada.get(url)).status_code == 200
    assert position_of(recorders[0].last_id) > position_of(old[0]), "the old position must be taken by another event"
    async with recording_one(ada, path, old[0]) as again:
        assert [gap["reason"] for gap in again.gaps] == ["unknown_cursor"]
    async with connected(restorable.dsn) as owner:
        await assert_events(recorders[0].readers[-1].logged, owner, conversation)


async def say(person: Person, conversation: str, text: str) -> None:
    """Post when the server has found its database again."""

    async def is_said() -> bool:
        answer = await person.post(
            f"/api/conversations/{conversation}/messages", {"content": text, "client_id": text.replace(" ", "-")}
        )
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    await until(is_said)


def epoch_of(cursor: str | None) -> str:
    return (cursor or "").partition("-")[0]


def position_of(cursor: str | None) -> int:
    return int((cursor or "").rpartition("-")[2])
