"""`stingar analysts`: Dagster's UI to look at only, over the instance that the pipeline uses.

Dagster's webserver refuses every change when it is started as read-only; here is what it is started
with, and what is wrong told in one line before. Not here: who may look (a proxy in front of it,
docs/analysts-server.md) and the UI in which runs are started (`demo`, deploy/).
"""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from stingar_dagster.errors import UsageError
from stingar_dagster.instance import open_instance


def serve(host: str, port: int) -> NoReturn:
    """Become the webserver: this process is replaced, so signals and exit codes are its own.

    Args:
        host, port: where it listens.

    Raises:
        UsageError: Dagster's instance can't be opened, or nothing can listen there.
    """
    with open_instance():
        pass  # what is wrong with it is better told here than by Dagster's processes
    _check_free(host, port)
    print(f"To look at only: http://{host}:{port}  (stop with Ctrl-C)", flush=True)
    command = command_line(host, port)
    os.execve(command[0], command, environment())


def command_line(host: str, port: int) -> list[str]:
    """The webserver's program and arguments.

    The code location must bear the name that the daemon knows it by, or the UI shows its sensors
    as stopped: in the project's folder workspace.yaml names it, elsewhere the module does.
    """
    code = ["-m", "stingar_dagster.definitions"]
    if Path("workspace.yaml").is_file():
        code = ["-w", "workspace.yaml"]
    place = ["--host", host, "--port", str(port)]
    quiet = ["--log-level", "warning"]
    webserver = [sys.executable, "-m", "dagster_webserver", "--read-only"]
    return [*webserver, *place, *quiet, *code]


def environment() -> dict[str, str]:
    """This process's, with the instance named for all of Dagster's processes."""
    home = os.environ.get("DAGSTER_HOME") or os.getcwd()
    return {**os.environ, "DAGSTER_HOME": home}


def _check_free(host: str, port: int) -> None:
    """Raises UsageError where nothing could listen; the webserver would say so in many lines."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As uvicorn does: connections that were just closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UsageError(
            f"can't listen on {host}:{port}: {error.strerror or error}; "
            "choose another with --host or --port"
        ) from None
