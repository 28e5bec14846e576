from __future__ import annotations

import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvc_core.errors import Cancelled, DeadlineExceeded, InvalidAudio
from rvc_core.options import ConversionOptions
from rvc_core.run import Progress
from server.errors import QueueFull
from server.jobs.batches import Halt, convert_all, write_zip
from server.jobs.items import Done, options_by_name, share_of, unique_names
from server.jobs.records import Fault, Item

ITEMS = [Item(f"i{n}", voice, {}, "wav") for n, voice in enumerate(["a", "b", "a", "c"])]


def ok(number: int) -> Done:
    return Done(f"i{number}", "ok", f"i{number}.wav")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "A", "a"], ["a", "A-2", "a-3"]),
        (["../../etc/passwd", "..\\x", "/"], ["passwd", "x", "item-3"]),
        (["", "..", ".hidden", "-rf"], ["item-1", "item-2", "hidden", "rf"]),
        (["NUL", "com1"], ["_NUL", "_com1"]),
        (["günther 1", "歌", "a\0b\nc"], ["günther_1", "歌", "a_b_c"]),
        (["x" * 300], ["x" * 80]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
    ],
)
def test_names_of_files_are_safe(wanted: list[str], names: list[str]) -> None:
    assert unique_names(wanted) == names


@given(st.lists(st.text(max_size=12), max_size=20))
def test_names_of_files_are_never_alike(wanted: list[str]) -> None:
    names = unique_names(wanted)
    assert len({name.casefold() for name in names}) == len(wanted)
    assert not any(set(name) & set('/\\:*?"<>|\0\n') or name.startswith(".") for name in names)


def test_items_come_back_in_their_order() -> None:
    assert [one.name for one in convert_all(ITEMS, ok, 4)] == ["i0", "i1", "i2", "i3"]


def test_an_item_that_fails_fails_alone() -> None:
    def convert(number: int) -> Done:
        if number == 1:
            raise InvalidAudio("No.", param="audio")
        return ok(number)

    done = convert_all(ITEMS, convert, 1)
    assert [one.status for one in done] == ["ok", "error", "ok", "ok"]
    assert done[1].error == {
        "message": "No.",
        "type": "invalid_request",
        "code": "invalid_audio",
        "param": "audio",
        "retryable": False,
    }


def test_a_defect_in_an_item_fails_it_alone(caplog: pytest.LogCaptureFixture) -> None:
    def convert(number: int) -> Done:
        return ok(1 // number)

    error = convert_all(ITEMS, convert, 1)[0].error
    assert error is not None and error["code"] == "internal_error"
    assert "ZeroDivisionError" in caplog.text


def test_an_item_that_was_at_fault_before_is_not_tried() -> None:
    items = [Item("x", None, {}, "wav", fault=Fault("voice_not_found", "No.", "model"))]
    (done,) = convert_all(items, lambda number: pytest.fail("tried"), 1)
    assert done.error is not None and done.error["code"] == "voice_not_found"


@pytest.mark.parametrize("error", [Cancelled("x"), DeadlineExceeded("x"), QueueFull("x")])
def test_the_end_of_the_whole_ends_all_items(error: Exception) -> None:
    begun = []

    def convert(number: int) -> Done:
        begun.append(number)
        raise Halt(error) if isinstance(error, QueueFull) else error

    with pytest.raises(type(error)):
        convert_all(ITEMS, convert, 1)
    assert begun == [0]


def test_a_zip_has_the_files_and_tells_of_all_items() -> None:
    file = io.BytesIO()
    failed = Done("b", "error", error={"code": "x"})
    write_zip(file, [Done("ä", "ok", "ä.wav"), failed], lambda number: b"audio")
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["manifest.json", "ä.wav"]
        assert archive.read("ä.wav") == b"audio"
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        items = json.loads(archive.read("manifest.json"))["items"]
    assert [(one["name"], one["status"]) for one in items] == [("ä", "ok"), ("b", "error")]


def test_options_are_the_same_after_they_were_kept() -> None:
    options = ConversionOptions(semitones=3, unvoiced="keep", seed=7, output_sample_rate=48_000)
    kept = json.loads(json.dumps(options_by_name(options)))
    assert ConversionOptions.from_api(kept) == options


@pytest.mark.parametrize(
    ("stage", "done", "total", "share"),
    [("f0", 0, 1, 0.0), ("f0", 1, 1, 0.2), ("synth", 1, 2, 0.6), ("synth", 2, 2, 1.0)],
)
def test_stages_have_their_share_of_a_conversion(
    stage: str, done: int, total: int, share: float
) -> None:
    assert share_of(Progress(stage, done, total)) == pytest.approx(share)
