"""What several workers share out: together they do no more than one process would."""

from pathlib import Path

import pytest

from rustygpt.cli.shares import worker_settings
from rustygpt.settings import Settings


def shares(data_dir: Path, workers: int, total: int, **llama_cpp: object) -> list[int]:
    settings = Settings(
        data_dir=data_dir, server={"workers": workers}, assistant={"max_concurrency": total, "llama_cpp": {**llama_cpp}}
    )
    return [worker_settings(settings, number).assistant.max_concurrency for number in range(1, workers + 1)]


@pytest.mark.parametrize(
    ("workers", "total", "expected"), [(2, 8, [4, 4]), (3, 8, [3, 3, 2]), (2, 1, [1, 0]), (4, 2, [1, 1, 0, 0]), (1, 8, [8])]
)
def test_answers_at_a_time_are_shared_out(tmp_path: Path, workers: int, total: int, expected: list[int]) -> None:
    """max_concurrency is that of all workers together; 1 still means one after the other."""
    assert shares(tmp_path, workers, total) == expected


def test_one_worker_writes_all_where_models_are_files(tmp_path: Path) -> None:
    """With a GGUF file only the first worker writes, so that the model is loaded once; not where llama.cpp is switched off."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").touch()
    assert shares(tmp_path, 3, 8) == [8, 0, 0]
    assert shares(tmp_path, 3, 8, enabled=False) == [3, 3, 2]


def test_configured_model_file_counts_wherever_it_is(tmp_path: Path) -> None:
    """assistant.llama_cpp.model_file may lie outside the models folder; one that is not there loads nothing."""
    file = tmp_path / "b.gguf"
    assert shares(tmp_path / "data", 2, 8, model_file=str(file)) == [4, 4]
    file.touch()
    assert shares(tmp_path / "data", 2, 8, model_file=str(file)) == [8, 0]
