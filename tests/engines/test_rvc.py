from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines import rvc
from engines.rvc import ConversionModels, RvcEngine, VoiceSession
from rvc_core.audio import Audio
from rvc_core.errors import InvalidCheckpoint, MissingPackage, MissingWeights, OutOfMemory
from rvc_core.options import ConversionOptions
from rvc_core.synthesizer import Synthesizer
from rvc_core.token import Token
from tests.rvc_core.tiny import FakeContentEncoder, FakeF0Estimator, TinyVoice, tone
from tests.server.live import write_index


@pytest.fixture
def engine(tmp_path: Path) -> RvcEngine:
    for name in ("content", "f0", "voices"):
        (tmp_path / name).mkdir()
    return RvcEngine(tmp_path)


@pytest.fixture
def session(tmp_path: Path) -> VoiceSession:
    return VoiceSession(TinyVoice().load(tmp_path))


def test_facts_are_what_the_file_says(engine: RvcEngine, tmp_path: Path) -> None:
    path = TinyVoice(sample_rate=32_000, uses_f0=False).write(tmp_path)
    facts = engine.describe(path, 1)
    assert (facts.config.sample_rate, facts.version) == (32_000, "v2")
    assert (facts.config.uses_f0, facts.content) == (False, "hubert")


def test_facts_are_read_once_for_the_same_file(engine: RvcEngine, tmp_path: Path) -> None:
    path = TinyVoice().write(tmp_path)
    facts = engine.describe(path, "same")
    path.unlink()
    assert engine.describe(path, "same") is facts


def test_a_broken_file_gives_a_fresh_error_each_time(engine: RvcEngine, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"nothing")
    errors = []
    for _ in range(2):
        with pytest.raises(InvalidCheckpoint) as caught:
            engine.describe(path, 1)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].message == errors[1].message


def test_a_voice_loads_as_a_session(engine: RvcEngine, tmp_path: Path) -> None:
    model = engine.voice("anna", "12345678", TinyVoice().write(tmp_path))
    assert model.id == "voice:anna@12345678"
    session = model.load("cpu")
    session.to("cpu")
    assert isinstance(session, VoiceSession)
    assert session.nbytes == session.voice.nbytes > 0


def test_content_encoders_are_folders_and_files(engine: RvcEngine, tmp_path: Path) -> None:
    (tmp_path / "content" / "hubert_base").mkdir()
    (tmp_path / "content" / "hubert_base" / "config.json").write_text("{}")
    (tmp_path / "content" / "whisper-tiny.en.safetensors").write_bytes(b"")
    (tmp_path / "content" / "notes.txt").write_text("")
    assert list(engine.content_encoders()) == ["hubert_base", "whisper-tiny.en"]
    ids = [model.id for model in engine.content_models()]
    assert ids == ["content:hubert_base", "content:whisper-tiny.en"]


def test_a_folder_that_is_missing_holds_no_encoder(tmp_path: Path) -> None:
    assert RvcEngine(tmp_path / "none").content_encoders() == {}


def test_a_missing_content_encoder_is_named(engine: RvcEngine, tmp_path: Path) -> None:
    facts = engine.describe(TinyVoice().write(tmp_path), 1)
    with pytest.raises(MissingWeights, match="hubert_base"):
        engine.content(facts)


def test_auto_is_rmvpe_where_its_weights_are(engine: RvcEngine, tmp_path: Path) -> None:
    assert engine.f0_method("auto") == "fcpe"
    (tmp_path / "f0" / "rmvpe.pt").write_bytes(b"")
    assert engine.f0_method("auto") == "rmvpe"
    assert "rmvpe" in engine.f0_methods()


def test_rmvpe_without_weights_is_refused(engine: RvcEngine) -> None:
    with pytest.raises(MissingWeights, match=r"rmvpe\.pt") as caught:
        engine.f0_method("rmvpe")
    assert caught.value.param == "f0_method"


def test_a_method_without_its_package_is_refused(
    engine: RvcEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rvc, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="parselmouth"):
        engine.f0_method("pm")
    assert engine.f0_methods() == []


def test_the_default_estimator_loads(engine: RvcEngine) -> None:
    model = engine.f0("fcpe")
    assert model.id == "f0:fcpe"
    assert model.load("cpu").nbytes > 0


def convert(engine: RvcEngine, models: ConversionModels, index_rate: float) -> Audio:
    options = ConversionOptions(index_rate=index_rate)
    return engine.convert(models, tone(0.5), options, Token()).audio


def test_a_conversion_with_and_without_an_index(
    engine: RvcEngine, session: VoiceSession, tmp_path: Path
) -> None:
    index = tmp_path / "i" / "a.index"
    write_index(index, 768)
    models = ConversionModels(session, FakeContentEncoder(), FakeF0Estimator(), index)
    with_index = convert(engine, models, index_rate=1.0)
    without = convert(engine, models, index_rate=0.0)
    assert with_index.duration_s == without.duration_s == 0.5
    assert not np.array_equal(with_index.samples, without.samples)


def test_an_index_that_is_not_wanted_is_not_read(engine: RvcEngine, session: VoiceSession) -> None:
    models = ConversionModels(session, FakeContentEncoder(), FakeF0Estimator(), Path("none.index"))
    assert convert(engine, models, index_rate=0.0).duration_s == 0.5


def test_a_device_that_is_full_is_asked_to_make_room(
    engine: RvcEngine, session: VoiceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def full(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    def make_room() -> int:
        asked.append(1)
        return 0

    monkeypatch.setattr(Synthesizer, "latent", full)
    models = ConversionModels(session, FakeContentEncoder(), FakeF0Estimator(), None, make_room)
    with pytest.raises(OutOfMemory):
        convert(engine, models, index_rate=0.0)
    assert asked


def test_a_session_says_what_its_voice_is(session: VoiceSession) -> None:
    assert (session.version, session.sample_rate, session.uses_f0) == ("v2", 40_000, True)


def test_the_pitch_curve_has_a_hundred_values_a_second(engine: RvcEngine) -> None:
    curve = engine.f0_curve(FakeF0Estimator(), tone(0.5, 44_100))
    assert curve.shape == (50,)
    assert curve.max() == 150


def test_warming_up_touches_no_model(engine: RvcEngine) -> None:
    engine.warm_up()
    assert engine.silence().duration_s == 0.5


def test_curves_to_look_at_come_from_swift_where_the_default_is_fcpe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RvcEngine(tmp_path)
    installed = {"swift_f0", "torchfcpe"}
    monkeypatch.setattr(
        "engines.rvc.find_spec", lambda module: module if module in installed else None
    )
    assert engine.curve_method() == "swift"
    installed.remove("swift_f0")
    assert engine.curve_method() == "fcpe"
    (tmp_path / "f0").mkdir()
    (tmp_path / "f0/rmvpe.pt").touch()
    assert engine.curve_method() == "rmvpe"
