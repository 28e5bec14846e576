"""The process that reads strangers' files, and what it does when run here."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rvc_core.checkpoint import read_voice_file
from rvc_core.errors import Cancelled, CoreError, InvalidCheckpoint, InvalidIndex
from rvc_core.token import Token
from rvc_core.voice import load_voice
from server.errors import InspectionFailed
from server.voices import inspector
from server.voices.child import INDEX_FILE, VOICE_FILE
from server.voices.inspector import Inspector, Job
from tests.gpu.fakes import in_thread, until
from tests.rvc_core.tiny import TinyVoice
from tests.server.live import write_index
from tests.server.voices.made import evil_bytes, inspect_here, voice_bytes, zip_bytes

MIB = 1 << 20


def job(folder: Path, voice: Path | None = None, index: Path | None = None) -> Job:
    return Job(folder, voice, index, None, 64 * MIB)


def here(folder: Path, content: bytes, name: str = "v.pth") -> dict[str, Any]:
    (folder / name).write_bytes(content)
    return inspect_here(job(folder, folder / name), Token())


def saved(checkpoint: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file, **options)
    return file.getvalue()


def test_a_process_of_its_own_reads_voice_and_index(tmp_path: Path) -> None:
    voice = TinyVoice(n_speakers=1).write(tmp_path, "anna")
    write_index(tmp_path / "x.index", 768)
    found = Inspector()(job(tmp_path, voice, tmp_path / "x.index"), Token())
    assert found == inspect_here(job(tmp_path, voice, tmp_path / "x.index"), Token())
    assert found["voice"]["speakers"] == 1
    assert found["index"] == {"content_dim": 768, "vectors": 64}


def test_a_payload_is_named_by_the_process_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "v.pth").write_bytes(evil_bytes(tmp_path / "harm"))
    with pytest.raises(CoreError) as caught:
        Inspector()(job(tmp_path, tmp_path / "v.pth"), Token())
    assert caught.value.code == "unsafe_checkpoint"
    assert not (tmp_path / "harm").exists()


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(inspector, "CODE", "import os, sys, json, time\n" + code)


def test_the_process_sees_nothing_of_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    run_instead(monkeypatch, "print(json.dumps(dict(os.environ)))")
    seen = Inspector()(job(tmp_path), Token())
    assert set(seen) <= {*inspector.ENVIRONMENT, "LC_CTYPE"}


@pytest.mark.parametrize(
    "code",
    ["os.abort()", "sys.exit(3)", "print('no json')", "raise MemoryError", "print('{}')"]
    + ["import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"],
)
def test_a_crash_or_a_limit_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    run_instead(monkeypatch, code)
    with pytest.raises(InspectionFailed):
        Inspector()(job(tmp_path), Token())


def test_too_much_memory_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v.pth").write_bytes(b"x")
    run_instead(
        monkeypatch,
        "sys.path.insert(0, sys.argv[1])\n"
        "from server.voices.child import limit_resources\n"
        "limit_resources(json.loads(sys.stdin.read()))\n"
        "bytearray(4 << 30)\nprint('[1]')",
    )
    with pytest.raises(InspectionFailed):
        Inspector()(job(tmp_path, tmp_path / "v.pth"), Token())


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "time.sleep(60)")
    with pytest.raises(InspectionFailed, match="longer than"):
        Inspector(wall_s=0.2)(job(tmp_path), Token())


def test_a_cancelled_request_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, token, stopped = tmp_path / "pid", Token(), threading.Event()
    run_instead(
        monkeypatch,
        "j = json.loads(sys.stdin.read())\nopen(j['folder'] + '/pid', 'w')"
        ".write(str(os.getpid()) + '.')\ntime.sleep(60)",
    )

    def work() -> None:
        with pytest.raises(Cancelled):
            Inspector()(job(tmp_path), token)
        stopped.set()

    in_thread(work)
    until(lambda: pid.exists() and pid.read_text().endswith("."))
    token.cancel()
    assert stopped.wait(5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()[:-1]), 0)


@pytest.mark.parametrize(
    "voice",
    [
        TinyVoice(),
        TinyVoice(uses_f0=False, content_dim=256, sample_rate=48_000, seed=5),
        TinyVoice(extras={"card": {"licence": "x"}, "f0_median": 180.5, "defaults": {}}),
        TinyVoice(extras={"sr": 40_000, "vocoder": "HiFi-GAN", "content": "whisper-tiny.en"}),
    ],
    ids=["plain", "without F0", "with a card", "with its encoder"],
)
def test_a_converted_voice_has_the_same_weights_and_facts(tmp_path: Path, voice: TinyVoice) -> None:
    path = voice.write(tmp_path, "voice")
    inspect_here(job(tmp_path, path), Token())
    before, after = load_voice(path), load_voice(tmp_path / VOICE_FILE)
    assert before.facts == after.facts
    one, other = before.synthesizer.state_dict(), after.synthesizer.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_converted_voice_gives_the_same_samples(tmp_path: Path) -> None:
    from rvc_core.audio import Audio
    from rvc_core.converter import VoiceConverter
    from rvc_core.options import ConversionOptions
    from tests.rvc_core.tiny import FakeF0Estimator, hubert_like

    path = TinyVoice().write(tmp_path, "voice")
    inspect_here(job(tmp_path, path), Token())
    times = np.arange(16_000, dtype=np.float32) / 16_000
    samples = np.sin(2 * np.pi * 150 * times) / 3
    source = Audio(samples.astype(np.float32), 16_000)
    before, after = (
        VoiceConverter(load_voice(file), hubert_like(), None).convert(
            source, ConversionOptions(), FakeF0Estimator()
        )
        for file in (path, tmp_path / VOICE_FILE)
    )
    assert np.abs(before.audio.samples).max() > 0.01
    np.testing.assert_array_equal(before.audio.samples, after.audio.samples)


def test_a_converted_voice_comes_in_again_unchanged(tmp_path: Path) -> None:
    inspect_here(job(tmp_path, TinyVoice().write(tmp_path)), Token())
    again = tmp_path / "again"
    again.mkdir()
    found = inspect_here(job(again, tmp_path / VOICE_FILE), Token())
    assert found["voice"]["notes"] == []
    first, second = read_voice_file(tmp_path / VOICE_FILE), read_voice_file(again / VOICE_FILE)
    assert first.metadata == second.metadata
    assert all(torch.equal(first.state[key], second.state[key]) for key in first.state)


def test_what_was_for_training_or_is_no_plain_value_is_left_out(tmp_path: Path) -> None:
    checkpoint = TinyVoice(extras={"optimizer_step": torch.zeros(2)}).checkpoint()
    checkpoint["weight"]["enc_q.pre.weight"] = torch.zeros(3)
    found = here(tmp_path, saved(checkpoint))
    assert not any(key.startswith("enc_q.") for key in load_file(tmp_path / VOICE_FILE))
    assert "optimizer_step" in found["voice"]["notes"][1]


LEGACY = {"_use_new_zipfile_serialization": False}


def deflated(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return zip_bytes({name: archive.read(name) for name in archive.namelist()})


POLYGLOTS: dict[str, Callable[[], bytes]] = {
    "a voice and a zip": lambda: voice_bytes() + zip_bytes({"x": b"1"}),
    "a zip and a voice": lambda: zip_bytes({"x": b"1"}) + voice_bytes(),
    "a picture and a voice": lambda: b"GIF89a" + voice_bytes(),
    "an old voice and a zip": lambda: (
        saved(TinyVoice().checkpoint(), **LEGACY) + zip_bytes({"archive/data.pkl": b"\x80\x02."})
    ),
    "a voice and something": lambda: voice_bytes() + b"<script>",
    "a packed voice": lambda: deflated(voice_bytes()),
}


@pytest.mark.parametrize("case", POLYGLOTS)
def test_a_checkpoint_that_is_another_file_too_is_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(InvalidCheckpoint) as caught:
        here(tmp_path, POLYGLOTS[case]())
    assert caught.value.code == "unsafe_checkpoint"
    assert not (tmp_path / VOICE_FILE).exists()


def test_an_old_checkpoint_is_taken(tmp_path: Path) -> None:
    assert here(tmp_path, saved(TinyVoice().checkpoint(), **LEGACY))["voice"]["version"] == "v2"


def test_a_checkpoint_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    checkpoint = TinyVoice().checkpoint()
    checkpoint["weight"]["enc_q.pre.weight"] = torch.zeros(17 * MIB)
    with pytest.raises(InvalidCheckpoint, match="unpacks to") as caught:
        here(tmp_path, saved(checkpoint))
    assert caught.value.code == "unsafe_checkpoint"


def test_a_voice_that_states_a_book_of_facts_is_refused(tmp_path: Path) -> None:
    extras = {"card": {"notice": "x" * (1 << 19)}}
    with pytest.raises(InvalidCheckpoint, match="bytes of facts"):
        here(tmp_path, voice_bytes(extras=extras))


def test_a_safetensors_file_with_a_tail_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    content = (tmp_path / "x.safetensors").read_bytes() + zip_bytes({"x": b"1"})
    with pytest.raises(InvalidCheckpoint):
        here(tmp_path, content, "v.safetensors")


def take_index(folder: Path, index: Any, content_dim: int | None = None) -> dict[str, Any]:
    index.add(np.random.default_rng(0).normal(size=(64, index.d)).astype(np.float32))
    faiss.write_index(index, str(folder / "i.index"))
    asked = Job(folder, None, folder / "i.index", content_dim, 64 * MIB)
    found: dict[str, Any] = inspect_here(asked, Token())["index"]
    return found


def test_an_index_as_training_writes_it_is_kept_as_it_is(tmp_path: Path) -> None:
    index = faiss.index_factory(256, "IVF4,Flat")
    index.train(np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32))
    assert take_index(tmp_path, index) == {"content_dim": 256, "vectors": 64}
    kept = faiss.read_index(str(tmp_path / INDEX_FILE))
    query = np.ones((3, 256), np.float32)
    for one, other in zip(index.search(query, 4), kept.search(query, 4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_index_with_its_vectors_in_another_file_is_refused(tmp_path: Path) -> None:
    index: Any = faiss.index_factory(8, "IVF4,Flat")
    index.train(np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))
    lists = faiss.OnDiskInvertedLists(4, index.code_size, str(tmp_path / "elsewhere"))
    index.replace_invlists(lists, False)  # ours to keep alive
    with pytest.raises(InvalidIndex):
        take_index(tmp_path, index)
    assert not (tmp_path / INDEX_FILE).exists()


def test_an_index_of_a_rare_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidIndex, match="kind"):
        take_index(tmp_path, faiss.IndexHNSWFlat(8, 4))


def test_what_follows_an_index_is_cut_off(tmp_path: Path) -> None:
    write_index(tmp_path / "plain.index", 8)
    plain = (tmp_path / "plain.index").read_bytes()
    (tmp_path / "i.index").write_bytes(plain + zip_bytes({"x": b"1"}))
    inspect_here(job(tmp_path, None, tmp_path / "i.index"), Token())
    assert (tmp_path / INDEX_FILE).read_bytes() == plain
