"""Servers that stop at a named point of a job's life, for tests that kill them there.

python -m tests.server.jobs.doomed reads lines of a models folder, a tab and a point. For each a
process is forked that serves: it prints its process id and its address, then "here" at the point.
"dead" follows when it was killed. Forking saves each of them seconds of imports.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rvc_core.token import Token
from server.jobs.runner import Runner
from server.jobs.store import JobStore
from server.services import Services
from tests.server.fakes import engine_of, fake_services
from tests.server.live import running

Value = TypeVar("Value")
POINTS = ("queued", "running", "second item", "written", "committed")


def count_conversions(services: Services, log: Path) -> None:
    """Have each conversion that ends leave a line in `log`."""

    def note(token: Token) -> None:
        with log.open("a") as file:
            file.write("converted\n")

    engine_of(services).during_convert = note


def stop_here(*given: Any) -> None:
    """Say so, and go no further."""
    sys.stdout.write("here\n")
    sys.stdout.flush()
    threading.Event().wait()


def stop_at(point: str, services: Services) -> None:
    """Arrange for a thread that comes to the point to stay there."""
    convert = engine_of(services).during_convert
    if point == "queued":
        Runner._claim = stop_here  # type: ignore[method-assign,assignment]
    elif point == "running":
        engine_of(services).during_convert = stop_here
    elif point == "second item":
        turns = iter([convert])
        engine_of(services).during_convert = lambda token: next(turns, stop_here)(token)
    elif point == "written":
        JobStore.succeed = stop_here  # type: ignore[method-assign,assignment]
    else:
        JobStore.succeed = then_stop(JobStore.succeed)  # type: ignore[method-assign]


def then_stop(work: Callable[..., Value]) -> Callable[..., Value]:
    """Do the work, and go no further."""

    def work_and_stop(*given: Any) -> Value:
        done = work(*given)
        stop_here()
        return done

    return work_and_stop


def serve(models: Path, point: str) -> None:
    """Serve until killed."""
    services = fake_services(models)
    count_conversions(services, models / "log")
    stop_at(point, services)
    with running(services) as url:
        services.warm_up()
        sys.stdout.write(f"{os.getpid()} {url}\n")
        sys.stdout.flush()
        threading.Event().wait()


def main() -> None:
    """Fork a server for each line, one after the other."""
    for line in sys.stdin:
        models, _, point = line.rstrip("\n").partition("\t")
        child = os.fork()
        if child == 0:
            serve(Path(models), point)
        os.waitpid(child, 0)
        sys.stdout.write("dead\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
