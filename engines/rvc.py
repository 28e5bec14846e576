"""RVC as an engine: the only bridge between serving and `rvc_core`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engines.indexes import IndexCache
from rvc_core.errors import CoreError, MissingPackage, MissingWeights
from rvc_core.f0 import F0_METHODS
from rvc_core.library import default_f0_method, rmvpe_weights
from rvc_core.options import ConversionOptions
from rvc_core.token import Token

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from rvc_core.audio import Audio
    from rvc_core.content import ContentEncoder
    from rvc_core.converter import Conversion, Part
    from rvc_core.f0 import F0Estimator
    from rvc_core.run import Progress
    from rvc_core.voice import Voice, VoiceFacts

INDEX_BYTES = 2**30  # of indexes kept in host memory
F0_RATE, F0_HOP = 16_000, 160  # what estimators take, and 10 ms of it


class Model(Protocol):
    """What can be held in memory and moved."""

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""

    def to(self, device: str) -> None:
        """Move the weights."""


@dataclass(frozen=True)
class LoadableModel:
    """A model by its identity, and how to get it onto a device.

    `nbytes_estimate` is what it may take there, told by its file.
    """

    id: str
    load: Callable[[str], Model]
    nbytes_estimate: int = 0


@dataclass(frozen=True)
class VoiceSession:
    """A loaded voice, as the manager keeps it; which index goes with it is the request's choice."""

    voice: Voice

    @property
    def version(self) -> str:
        """v1 or v2."""
        return self.voice.facts.version

    @property
    def sample_rate(self) -> int:
        """Hz of what the voice gives."""
        return self.voice.sample_rate

    @property
    def uses_f0(self) -> bool:
        """Whether the voice follows a pitch curve."""
        return self.voice.uses_f0

    @property
    def nbytes(self) -> int:
        """Bytes of the voice's weights."""
        return self.voice.nbytes

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What holds the voice's weights."""
        return self.voice.modules

    def to(self, device: str) -> None:
        """Move the voice."""
        self.voice.to(device)


class RvcEngine:
    """Finds and loads what a conversion needs under a folder of models, and converts."""

    def __init__(self, models_dir: Path, index_bytes: int = INDEX_BYTES) -> None:
        self.indexes = IndexCache(index_bytes)
        self._models_dir = models_dir
        self._content_dir = models_dir / "content"
        self._rmvpe = rmvpe_weights(models_dir)
        self._facts: dict[object, VoiceFacts | CoreError] = {}
        self._reading = threading.Lock()

    def describe(self, path: Path, identity: object) -> VoiceFacts:
        """What the voice file says, read once per `identity`; raise its `CoreError`, if any."""
        with self._reading:
            if identity not in self._facts:
                self._facts[identity] = _read_facts(path)
            known = self._facts[identity]
        if isinstance(known, CoreError):
            raise copy(known)  # a raised one gathers its raiser's frames
        return known

    def voice(self, name: str, content_hash: str, path: Path) -> LoadableModel:
        """The voice at `path`; it loads as a `VoiceSession`."""

        def load(device: str) -> VoiceSession:
            from rvc_core.voice import load_voice

            return VoiceSession(load_voice(path, device))

        return LoadableModel(f"voice:{name}@{content_hash}", load, _size(path))

    def content_encoders(self) -> dict[str, Path]:
        """Content encoders on disk by name: folders of HuBERT, files of Whisper."""
        if not self._content_dir.is_dir():
            return {}
        paths = sorted(self._content_dir.iterdir())
        return {
            _encoder_name(path): path
            for path in paths
            if path.suffix == ".safetensors" or (path / "config.json").is_file()
        }

    def content_models(self) -> list[LoadableModel]:
        """The content encoders on disk."""
        return [_content_model(name, path) for name, path in self.content_encoders().items()]

    def content(self, facts: VoiceFacts) -> LoadableModel:
        """The content encoder that a voice needs; raise `MissingWeights` if it is not there."""
        from rvc_core.content import find_content_encoder

        path = find_content_encoder(self._models_dir, facts)
        if not path.exists():
            raise MissingWeights(
                f"The voice needs the content encoder {path}, which is not there.",
                param="model",
                value=str(path),
            )
        return _content_model(_encoder_name(path), path)

    def f0_methods(self) -> list[str]:
        """F0 methods whose weights or packages are there."""
        return [method for method in F0_METHODS if self._f0_problem(method) is None]

    def default_f0_method(self) -> str:
        """What auto stands for: rmvpe where its weights are, else fcpe."""
        return default_f0_method(self._models_dir)

    def curve_method(self) -> str:
        """The method for curves to look at: fcpe hears low, creaky voices an octave high."""
        method = self.default_f0_method()
        swift_is_there = self._f0_problem("swift") is None
        return "swift" if method == "fcpe" and swift_is_there else method

    def f0_method(self, wanted: str) -> str:
        """The method that `wanted` stands for, auto resolved; raise if it is not installed."""
        method = self.default_f0_method() if wanted == "auto" else wanted
        problem = self._f0_problem(method)
        if problem is not None:
            raise problem
        return method

    def f0(self, method: str) -> LoadableModel:
        """The F0 estimator of a resolved method."""

        def load(device: str) -> F0Estimator:
            from rvc_core.f0 import load_f0_estimator

            return load_f0_estimator(method, self._rmvpe, device)

        return LoadableModel(f"f0:{method}", load, _size(self._rmvpe) if method == "rmvpe" else 0)

    def convert(
        self,
        models: ConversionModels,
        source: Audio,
        options: ConversionOptions,
        token: Token,
        on_progress: Callable[[Progress], None] | None = None,
        on_part: Callable[[Part], None] | None = None,
    ) -> Conversion:
        """Convert `source` with loaded models; the index is left alone when `index_rate` is 0."""
        from rvc_core.converter import VoiceConverter

        index = None
        if models.index is not None and options.index_rate > 0:
            index = self.indexes.get(models.index)
        converter = VoiceConverter(
            models.session.voice, models.content, index, models.make_room or (lambda: 0)
        )
        tell = on_progress or (lambda progress: None)
        give = on_part or (lambda part: None)
        return converter.convert(source, options, models.f0, token, tell, give)

    def f0_curve(self, estimator: F0Estimator, audio: Audio) -> NDArray[np.float64]:
        """The pitch of `audio` in Hz, shape (frames,), 100 frames a second."""
        from rvc_core.audio import resample
        from rvc_core.f0 import estimate_in_blocks

        samples = resample(audio.samples, audio.sample_rate, F0_RATE)
        return estimate_in_blocks(estimator, samples, max(1, len(samples) // F0_HOP))

    def silence(self) -> Audio:
        """Half a second of nothing, to warm models up with."""
        import numpy as np

        from rvc_core.audio import Audio

        return Audio(np.zeros(F0_RATE // 2, np.float32), F0_RATE)

    def warm_up(self) -> None:
        """Import what the first conversion would wait for."""
        from rvc_core.frontend import prepare

        prepare(self.silence())  # scipy.signal: most of a second

    def _f0_problem(self, method: str) -> CoreError | None:
        if method == "rmvpe" and not self._rmvpe.is_file():
            return MissingWeights(
                f"The F0 method rmvpe needs {self._rmvpe}, which is not there.", param="f0_method"
            )
        module = F0_METHODS[method].module
        if module is not None and find_spec(module) is None:
            return MissingPackage(
                f"The F0 method {method} needs the package {module}, which is not installed.",
                param="f0_method",
            )
        return None


@dataclass(frozen=True)
class ConversionModels:
    """Loaded models of one conversion; `f0` is None for voices without F0.

    `make_room` is asked when the device is out of memory; it returns the bytes it freed.
    """

    session: VoiceSession
    content: ContentEncoder
    f0: F0Estimator | None
    index: Path | None
    make_room: Callable[[], int] | None = None


def _content_model(name: str, path: Path) -> LoadableModel:
    def load(device: str) -> ContentEncoder:
        from rvc_core.content import load_content_encoder

        return load_content_encoder(path, device)

    return LoadableModel(f"content:{name}", load, _size(path))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it is not there."""
    if path.is_dir():
        return sum(_size(inside) for inside in path.iterdir())
    return path.stat().st_size if path.is_file() else 0


def _read_facts(path: Path) -> VoiceFacts | CoreError:
    from rvc_core.voice import read_voice_facts

    try:
        return read_voice_facts(path)
    except CoreError as error:
        return error


def _encoder_name(path: Path) -> str:
    return path.stem if path.suffix == ".safetensors" else path.name
