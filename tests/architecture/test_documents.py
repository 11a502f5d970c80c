"""The documents say what the code does: settings, error codes and links are compared."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from starlette.applications import Starlette
from starlette.routing import Route

from rustygpt.app import create_app
from rustygpt.errors import DomainError
from rustygpt.settings import Settings
from rustygpt.settings_problems import all_fields, expectation
from rustygpt.settings_sources import WELL_KNOWN
from rustygpt.streaming.events import LOGGED_TYPES, ControlType
from tests.architecture.source_tree import REPOSITORY, files, name_of, tracked_files

REFERENCE = REPOSITORY / "docs" / "reference"
FIELDS = dict(all_fields(Settings))
LISTS = {key for key in FIELDS if any(other.startswith(f"{key}[].") for other in FIELDS)}
"""Keys that hold a list of tables."""
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def cells(name: str) -> dict[str, list[str]]:
    """Rows of the tables in a reference page whose first cell is one code span, by that cell."""
    rows: dict[str, list[str]] = {}
    for line in (REFERENCE / name).read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if line.startswith("|") and (first := re.fullmatch(r"`([^`]+)`", parts[0])):
            assert first[1] not in rows, f"{first[1]} stands twice in {name}"
            rows[first[1]] = parts[1:]
    return rows


def shown_default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    match value:
        case SecretStr():
            return '`""`'
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"`{value}`"
        case tuple():
            return "`[]`"
        case Path() | None:
            return '`""`'
        case str():
            return f'`"{value}"`'
        case _:
            return "required"


def test_settings_page_lists_every_setting_with_its_default_and_range() -> None:
    """docs/reference/settings.md has a row for each key: what it takes, the default, the variable."""
    rows = {key: parts for key, parts in cells("settings.md").items() if key in FIELDS or "." in key}
    names: dict[str, list[str]] = {}
    for name, path in WELL_KNOWN.items():
        names.setdefault(".".join(path), []).append(f"`{name}`")
    expected = {
        key: [expectation(field), shown_default(field), ", ".join(names.get(key, []))]
        for key, field in FIELDS.items()
        if key not in LISTS
    }
    assert {key: parts[:3] for key, parts in rows.items()} == expected


def test_annotated_file_lists_every_setting() -> None:
    """config.toml has each key once, uncommented; the lists of tables stand there as comments that are valid."""
    text = (REPOSITORY / "config.toml").read_text(encoding="utf-8")
    present = set(keys(tomllib.loads(text)))
    for name in LISTS:
        block = text[text.index(f"# [[{name}]]") :].partition("\n\n")[0]
        present |= set(keys(tomllib.loads("\n".join(line.removeprefix("# ") for line in block.splitlines()))))
    assert present == set(FIELDS) - LISTS


def keys(table: dict, prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in table.items():
        if isinstance(value, dict):
            found += keys(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found += keys(value[0], f"{prefix}{name}[].")
        else:
            found.append(prefix + name)
    return found


def test_annotated_file_explains_every_key() -> None:
    """Each key of config.toml follows a comment, which gives both ends of its range and its variable."""
    lines = (REPOSITORY / "config.toml").read_text(encoding="utf-8").replace("\n# # ", "\n# ").splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"(# )?[a-z0-9_]+ = ", line) and not line.startswith("# For instance"):
            assert above.startswith("# "), f"no comment above {line}"
    for name in WELL_KNOWN:
        assert re.search(rf"\[.*\b{name}\b.*\]$", "\n".join(lines), re.MULTILINE), name


@pytest.mark.parametrize("key", [key for key, field in FIELDS.items() if field.annotation in {int, float} and field.metadata])
def test_annotated_file_gives_the_range(key: str) -> None:
    """The comment above a number names the least and the greatest that is accepted."""
    table, _, name = key.rpartition(".")
    text = (REPOSITORY / "config.toml").read_text(encoding="utf-8").replace("\n# # ", "\n# ").replace("\n# ", "\n#")
    section = text.split(f"[[{table.removesuffix('[]')}]]" if table.endswith("[]") else f"\n[{table}]\n", 1)[1]
    comment = re.search(rf"\n?#([^\n]+)\n#?{name} = ", section)
    assert comment
    said = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", comment[1])}
    wanted = {float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", expectation(FIELDS[key]))}
    assert wanted <= said, f"{comment[1]} should name {wanted}"


def test_errors_page_lists_every_code_with_its_status() -> None:
    """docs/reference/errors.md has a row for each code, and none for a code that does not exist."""
    codes = {leaf.code: leaf.status for leaf in DomainError.__subclasses__()}
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    rows = {code: line for line in page.splitlines() if line.startswith("|") for code in re.findall(r"`(RGP\.[A-Z._]+)`", line)}
    assert set(rows) == set(codes)
    assert not [code for code, status in codes.items() if not re.search(rf"\b{status}\b", rows[code])]


@pytest.mark.parametrize("page", files(REPOSITORY, ".md"), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a document names a file that is there, and a heading that it has."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in (first or second for first, second in LINK.findall(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert not broken


def headings(page: Path) -> set[str]:
    """The anchors GitHub gives to the headings of a page."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.strip().lower()).replace(" ", "-") for line in lines}


def test_every_document_is_reachable() -> None:
    """docs/README.md, or a page it names, leads to every page."""
    pages = {path for path in tracked_files() if path.suffix == ".md" and path.is_relative_to(REPOSITORY / "docs")}
    seen: set[Path] = set()
    queue = [REPOSITORY / "docs" / "README.md"]
    while queue:
        page = queue.pop()
        if page in seen or page not in pages:
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        queue += [(page.parent / (a or b).partition("#")[0]).resolve() for a, b in links]
    assert not {name_of(page) for page in pages - seen}


def test_http_page_lists_every_route(tmp_path: Path) -> None:
    """docs/reference/http-api.md has a row for each route of the application, and none for a route that is not there."""
    asgi = create_app(Settings(data_dir=tmp_path), "postgres://nobody.invalid/nothing").asgi
    assert isinstance(asgi, Starlette)
    served = {
        f"{method} {re.sub(':path', '', route.path)}"
        for route in asgi.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }
    page = (REFERENCE / "http-api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", page, re.MULTILINE)) == served


def test_http_page_lists_every_event() -> None:
    """docs/reference/http-api.md has a row for each type of event that a stream may send."""
    page = (REFERENCE / "http-api.md").read_text(encoding="utf-8").split("| event |")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z.]+)`", page, re.MULTILINE)) == LOGGED_TYPES | set(get_args(ControlType)) | {
        "generation.queued"
    }
