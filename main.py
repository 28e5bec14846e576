"""Start the voice server: the REST API, the browser UI and the models that both share."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from api_server import create_app
from server.logs import configure_logging
from server.services import Services, build_services
from server.settings import InvalidSetting, Settings, prepare_environment, unknown_keys
from server.sockets import PortInUse, bind, url_of
from server.uvicorn_server import UiServer
from server.waitress_server import ApiServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

UiFactory = Callable[[Services], "ASGIApp"]
WATCH_S = 0.2
FETCH_S = 1.0  # for browsers to get the file of a conversion that has just ended
SEND_S = 10.0  # for answers of the API to reach their clients


def main(arguments: Sequence[str] | None = None, ui_factory: UiFactory | None = None) -> int:
    """Serve until a signal comes; the exit code is 0 then, 1 after a failure, 2 if misused."""
    try:
        settings = Settings.from_environment().with_flags(arguments or ())
        configure_logging(settings)
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    prepare_environment(settings)
    for note in [*unknown_keys(), *exposure_notes(settings)]:
        logger.warning("%s", note)
    stop = _stop_on_signals()
    try:
        return _serve(settings, stop, ui_factory or _create_ui)
    except (InvalidSetting, PortInUse) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def run(arguments: Sequence[str], ui_factory: UiFactory | None = None) -> NoReturn:
    """Do as `main` and end the process."""
    exit_code = main(arguments, ui_factory)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)  # an interpreter that unwinds while a model still loads aborts


def exposure_notes(settings: Settings) -> list[str]:
    """What the operator of a server that others can reach should know."""
    if settings.is_loopback:
        return []
    if not settings.keys:
        return [
            f"ANYBODY who reaches {settings.bind_host} can use this server: BIND_HOST opens it "
            "to the network and no API_KEY is set."
        ]
    return ["API_KEY guards the API only: the browser UI is open to anybody who reaches it."]


def _serve(settings: Settings, stop: Stop, ui_factory: UiFactory) -> int:
    api_socket = bind(settings.bind_host, settings.api_port, "API_PORT")
    ui_socket = bind(settings.bind_host, settings.ui_port, "UI_PORT")
    services = build_services(settings)
    api = ApiServer(create_app(services), api_socket, settings)
    api.start()  # first, so that probes get answers while models and the UI load
    threading.Thread(target=services.warm_up, name="warm-up", daemon=True).start()
    ui = UiServer(ui_factory(services), ui_socket)
    ui.start()
    addresses = f"UI  {url_of(ui_socket)}\nAPI {url_of(api_socket)}\n"
    failed = watch(stop, services, api, ui, addresses)
    _shut_down(services, api, ui)
    return 1 if failed else 0


def watch(stop: Stop, services: Services, api: ApiServer, ui: UiServer, addresses: str) -> bool:
    """Wait for `stop`; say the addresses once all is warm; True if a server thread has died."""
    said = False
    while not stop.requested:
        time.sleep(WATCH_S)
        if not said and services.warmed.is_set():
            sys.stdout.write(addresses)
            sys.stdout.flush()
            said = True
        for name, server in (("API", api), ("UI", ui)):
            if not server.is_alive:
                logger.error("The %s server has died; stopping.", name)
                return True
    return False


def _shut_down(services: Services, api: ApiServer, ui: UiServer) -> None:
    """End without cutting anybody off: work first, then the UI, the API, the models."""
    logger.info("Stopping: no new work is taken.")
    was_busy = services.drain(services.settings.drain_seconds)
    if was_busy:
        time.sleep(FETCH_S)
    ui.stop()
    api.drain(SEND_S)
    services.close()
    logger.info("Stopped.")


@dataclass
class Stop:
    """Set by a signal handler: no lock in it, as the handler may interrupt who holds one."""

    requested: bool = False


def _stop_on_signals() -> Stop:
    """What SIGTERM or SIGINT sets; a second signal ends the process at once."""
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            os._exit(1)
        stop.requested = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


def _create_ui(services: Services) -> ASGIApp:
    from app import create_app as create_ui_app  # imports gradio, which takes seconds

    return create_ui_app(services)


if __name__ == "__main__":
    run(sys.argv[1:])
