from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api_server import create_app
from rvc_core.token import Token
from server.canary import NOT_TRIED, Canary, Trial, try_voice
from server.health import DISK_S, Disk
from server.services import Services
from tests.gpu.fakes import FakeClock
from tests.server.calls import convert, converting
from tests.server.fakes import engine_of, fake_services


class Mine:
    """A canary with a clock and devices that do what a test says."""

    def __init__(self) -> None:
        self.clock, self.trial, self.n_trials = FakeClock(), Trial(True), 0
        self.at_hand, self.completed = 0, {0: 0}
        self.canary = Canary(
            60.0, lambda: self.at_hand, lambda: dict(self.completed), self._try, self.clock
        )
        self.canary.look()

    def _try(self) -> dict[int, Trial]:
        self.n_trials += 1
        return {0: self.trial}

    def look_after(self, seconds: float) -> int:
        self.clock.advance(seconds)
        self.canary.look()
        return self.n_trials


def test_devices_are_tried_after_a_minute_of_idleness_and_each_minute_then() -> None:
    mine = Mine()
    assert [mine.look_after(s) for s in (59, 1, 59, 1)] == [0, 1, 1, 2]


def test_nothing_is_tried_while_there_is_work() -> None:
    mine = Mine()
    mine.at_hand = 1
    assert [mine.look_after(60), mine.look_after(60)] == [0, 0]
    mine.at_hand = 0
    assert [mine.look_after(59), mine.look_after(1)] == [0, 1]


def test_a_conversion_between_two_looks_is_work_too() -> None:
    mine = Mine()
    mine.look_after(59)
    mine.completed[0] += 1
    assert [mine.look_after(1), mine.look_after(60)] == [0, 1]


def test_a_failure_holds_until_a_trial_succeeds() -> None:
    mine = Mine()
    mine.trial = Trial(True, "It broke.")
    mine.look_after(60)
    assert mine.canary.problems() == {0: "It broke."}
    mine.trial = NOT_TRIED
    mine.look_after(60)
    assert mine.canary.problems() == {0: "It broke."}
    mine.trial = Trial(True)
    mine.look_after(60)
    assert mine.canary.problems() == {}


def test_a_failure_holds_until_a_conversion_succeeds() -> None:
    mine = Mine()
    mine.trial = Trial(True, "It broke.")
    mine.look_after(60)
    mine.completed[0] += 1
    assert mine.canary.problems() == {}


def test_silence_is_converted_with_a_voice_that_is_loaded(
    services: Services, recording: bytes
) -> None:
    assert try_voice(services._local) == NOT_TRIED
    convert(services, recording, "anna")
    assert try_voice(services._local) == Trial(True)


def test_an_offloaded_voice_is_left_alone(services: Services, recording: bytes) -> None:
    convert(services, recording, "anna")
    services.offload()
    before = services.leases.states()
    assert try_voice(services._local) == NOT_TRIED
    assert services.leases.states() == before


def test_a_voice_in_use_is_left_alone(services: Services, recording: bytes) -> None:
    with converting(services, recording, "anna"):
        assert try_voice(services._local) == NOT_TRIED


@pytest.mark.parametrize("kind", [ZeroDivisionError, RuntimeError])
def test_a_trial_that_fails_makes_the_server_unready(
    services: Services, recording: bytes, kind: type[Exception]
) -> None:
    def fail(token: Token) -> None:
        raise kind("It broke.")

    services.warm_up()
    services.health.canary.stop()
    convert(services, recording, "anna")
    engine_of(services).during_convert = fail
    canary = services.health.canary
    canary._note({0: try_voice(services._local)}, {0: 1})
    state = services.ready()
    assert (state.ready, state.reasons) == (False, ("A trial with anna failed: It broke.",))
    engine_of(services).during_convert = lambda token: None
    convert(services, recording, "anna")
    assert services.ready().ready


def test_a_folder_that_cannot_be_written_makes_the_server_unready(
    fake_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    services = fake_services(fake_models, outputs_dir=outputs)
    services.warm_up()
    services.health.canary.stop()
    assert services.ready().ready

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.health.tempfile.TemporaryFile", full)
    assert services.ready().ready  # as it was seen a moment ago
    services.health.disk._looked_at = None
    (reason,) = services.ready().reasons
    assert reason == f"{outputs} cannot be written: No space left on device."
    services.close()


def test_the_disk_is_looked_at_now_and_then(tmp_path: Path) -> None:
    clock = FakeClock()
    disk = Disk(tmp_path / "outputs", clock)
    assert disk.problem() is None  # it can be made
    (tmp_path / "outputs").write_text("a file where a folder should be")
    clock.advance(DISK_S - 1)
    assert disk.problem() is None
    clock.advance(1)
    assert "cannot be written" in str(disk.problem())


def test_one_voice_can_be_asked_for(fake_models: Path) -> None:
    (fake_models / "voices" / "bad.pth").write_bytes(b"broken")
    services = fake_services(fake_models)
    services.warm_up()
    services.health.canary.stop()
    client: FlaskClient = create_app(services).test_client()
    assert client.get("/ready?model=anna").status_code == 200
    bad = client.get("/ready?model=bad")
    assert (bad.status_code, bad.get_json()["reasons"]) == (503, ["bad.pth is no voice."])
    assert client.get("/ready?model=nobody").status_code == 404
    services.close()


def test_the_canary_ends_with_the_services(fake_models: Path) -> None:
    services = fake_services(fake_models)
    services.warm_up()
    thread = services.health.canary._thread
    assert thread.is_alive()
    services.close()
    thread.join(10)
    assert not thread.is_alive()


def test_without_an_interval_there_is_no_canary(fake_models: Path) -> None:
    services = fake_services(fake_models, canary_seconds=0.0)
    services.warm_up()
    assert not services.health.canary._thread.is_alive()
    services.close()
