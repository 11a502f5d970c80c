"""Metrics of several workers: every scrape shows the same sums, whoever answers, and the same families as one process."""

import re
from pathlib import Path

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rustygpt.observability.shared_metrics import PREFIX, shared_folder
from tests.assistant.exchange import until
from tests.cli.conftest import MakeWorkers, make_workers
from tests.cli.many_workers import ManyWorkers, value_in
from tests.observability.test_metrics import REFERENCE
from tests.person import DEADLINE_SECONDS

__all__ = ["make_workers"]

FOUND = 'http_requests_total{method="GET",route="unmatched",status="404"}'
DURATIONS = 'http_request_duration_seconds_count{method="GET",route="unmatched"}'
PATTERN = re.compile(r"^\| `([a-z_]+)` \| ([a-z_, ]*?) ?\| [a-z]+ \|", re.MULTILINE)


async def scrape_at(server: ManyWorkers, pid: int) -> str:
    """What a certain worker answers to a scrape."""
    while True:
        reader, writer, found = await server.connect()
        if found == pid:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = (await reader.read()).decode()
            writer.close()
            return "\n".join(line for line in answer.splitlines() if re.match(r"#|[a-z]\w+[{ ]", line))
        writer.close()


@pytest.mark.acceptance
async def test_every_worker_shows_the_sum_of_all(make_workers: MakeWorkers) -> None:
    """After 31 requests over three workers each of them says 31, as a counter and as a histogram's count."""
    server = make_workers(SERVER__WORKERS=3)
    await server.start()
    for number in range(31):
        async with httpx2.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
            assert (await client.get(f"/api/nothing/{number}")).status_code == 404
    await server.until_logged("http_request", 31)
    assert {line["worker"] for line in server.logged("http_request")} == {1, 2, 3}

    async def show_the_sum() -> bool:
        texts = [await scrape_at(server, pid) for pid in server.workers.values()]
        return all(value_in(text, FOUND) == value_in(text, DURATIONS) == 31 for text in texts)

    await until(show_the_sum)


@pytest.mark.acceptance
async def test_workers_export_what_the_reference_lists(make_workers: MakeWorkers) -> None:
    """The families, their labels and help texts are those of one process: no series says which worker; but for garbage collection."""
    server = make_workers()
    await server.start()
    text = await scrape_at(server, server.workers[1])
    page = REFERENCE.read_text()
    documented = dict(PATTERN.findall(page))
    seen = set()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        seen.add(name)
        assert family.documentation in page or name.startswith(("process_", "python_"))
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        assert name.startswith(("process_", "python_")) or labels <= set(documented[name].split(", "))
    assert not {name for name, labels in documented.items() if not labels} - seen
    assert not [name for name in seen if name.startswith("python_gc")]
    assert "python_info" in seen


@pytest.mark.acceptance
async def test_process_figures_are_of_all_workers(make_workers: MakeWorkers) -> None:
    """Memory is that of parent and workers together; the CPU time goes on when a worker dies; the start stays the parent's."""
    server = make_workers()
    await server.start()
    text = await scrape_at(server, server.workers[2])
    processes = [psutil.Process(pid) for pid in (server.pid, *server.workers.values())]
    resident = sum(each.memory_info().rss for each in processes)
    assert 0.5 * resident < value_in(text, "process_resident_memory_bytes") < 2 * resident
    assert value_in(text, "process_start_time_seconds") == pytest.approx(processes[0].create_time(), abs=2)
    assert 0 < value_in(text, "process_open_fds") < value_in(text, "process_max_fds")
    before = value_in(text, "process_cpu_seconds_total")
    assert before > 0
    processes[1].kill()
    await server.until_logged("worker_ready", 3)
    assert value_in(await scrape_at(server, server.workers[2]), "process_cpu_seconds_total") >= before


@pytest.mark.acceptance
async def test_counters_outlive_their_worker(make_workers: MakeWorkers) -> None:
    """What a killed worker counted stays counted, and its successor counts on."""
    server = make_workers()
    await server.start()

    async def ask(number: int) -> None:
        for _ in range(number):
            async with httpx2.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
                await client.get("/api/nothing")

    await ask(10)
    await server.until_logged("http_request", 10)
    psutil.Process(server.workers[1]).kill()
    await server.until_logged("worker_ready", 3)
    assert await server.metric(FOUND) == 10
    await ask(10)
    await server.until_logged("http_request", 20)
    assert await server.metric(FOUND) == 20


def test_folder_of_a_killed_server_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that nobody holds goes; that of a living server and whatever else is there stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, other = tmp_path / f"{PREFIX}gone", tmp_path / "other"
    for folder in (abandoned, other):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    with shared_folder() as one:
        assert not abandoned.exists()
        with shared_folder() as two:
            assert one.is_dir()
            assert two.is_dir()
            assert one != two
        assert one.is_dir()
    assert list(tmp_path.iterdir()) == [other]
