"""The verbs about voices on disk: take one in, look at one, rename it, remove it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_core.errors import (
    CoreError,
    IndexMismatch,
    InvalidOption,
    MissingWeights,
    VoiceNotFound,
)
from rvc_core.library import VoiceEntry, listing
from rvc_core.token import Token
from server.conversion import DeviceConverter
from server.devices import MIB
from server.errors import VoiceRequired
from server.jobs.errors import DiskFull
from server.settings import Settings
from server.voices.child import INDEX_FILE, VOICE_FILE
from server.voices.inspector import Inspect, Inspector, Job
from server.voices.intake import Parcel, SizeBounds, Upload, receive
from server.voices.names import check_name
from server.voices.reports import IndexReport, VoiceReport, summarize
from server.voices.store import VoiceStore

if TYPE_CHECKING:
    from rvc_core.voice import VoiceFacts

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Wanted:
    """What a caller wants an upload to become; no name means the one that its file has."""

    name: str | None = None
    overwrite: bool = False


class VoiceDesk:
    """Takes voices in and lets them go.

    `let_go` makes all devices forget a voice, or raises `ModelInUse`. `inspect` is what reads
    strangers' files.
    """

    def __init__(
        self, local: DeviceConverter, settings: Settings, let_go: Callable[[str], None]
    ) -> None:
        self.inspect: Inspect = Inspector()
        self._local = local
        self._registry = local.registry
        self._voices_dir = settings.voices_dir
        self._bounds = SizeBounds(settings.max_upload_bytes, settings.max_voice_mb * MIB)
        self._let_go = let_go
        self._store = VoiceStore(local.registry, settings.voices_dir)

    def take(self, uploads: Sequence[Upload], wanted: Wanted, token: Token) -> VoiceReport:
        """Keep a voice, an index for one that is there, or both; raise what is wrong with them."""
        with self._received(uploads, token) as parcel:
            if parcel.voice is None:
                return self._take_index(parcel, wanted, token, keep=True)
            name = self._name(parcel, wanted)
            if not wanted.overwrite:
                self._store.check_free(name)  # before the work; `add` asks again
            found = self.inspect(self._job(parcel), token)
            report = self._report(name, parcel, found)
            index = parcel.folder / INDEX_FILE if parcel.index is not None else None
            token.check()
            self._store.add(name, parcel.folder / VOICE_FILE, index, wanted.overwrite)
            return report

    def look(self, uploads: Sequence[Upload], wanted: Wanted, token: Token) -> VoiceReport:
        """What `take` would keep; nothing is kept, and a name that is taken is no hindrance."""
        with self._received(uploads, token) as parcel:
            if parcel.voice is None:
                return self._take_index(parcel, wanted, token, keep=False)
            name = self._name(parcel, wanted)
            return self._report(name, parcel, self.inspect(self._job(parcel), token))

    def rename(self, voice: str, name: str) -> str:
        """Rename a voice and its index; return the new name. Raise `VoiceExists`, `ModelInUse`."""
        entry, name = self._registry.find(voice), check_name(name)
        if name == entry.name:
            return name
        self._store.check_free(name)
        self._let_go(entry.name)
        self._store.rename(entry, name)
        return name

    def remove(self, voice: str) -> None:
        """Remove a voice from memory, then from the disk; raise `ModelInUse`."""
        entry = self._registry.find(voice)
        self._let_go(entry.name)
        self._store.remove(entry)

    @contextmanager
    def _received(self, uploads: Sequence[Upload], token: Token) -> Iterator[Parcel]:
        try:
            with receive(uploads, self._voices_dir, self._bounds, token) as parcel:
                yield parcel
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise DiskFull("The disk has no room left for voices.") from error

    def _name(self, parcel: Parcel, wanted: Wanted) -> str:
        if not (wanted.name or parcel.stem):
            raise InvalidOption("The file's name cannot be a voice's; give a name.", param="name")
        return check_name(wanted.name or parcel.stem)

    def _job(self, parcel: Parcel) -> Job:
        return Job(parcel.folder, parcel.voice, parcel.index, None, self._bounds.unpacked)

    def _take_index(self, parcel: Parcel, wanted: Wanted, token: Token, keep: bool) -> VoiceReport:
        """An index alone goes to the voice that is named, or that its own name speaks of."""
        found = self.inspect(self._job(parcel), token)
        width = found["index"]["content_dim"]
        entry = self._voice_for_index(wanted.name or parcel.stem, width)
        facts = self._describe(entry)
        if facts.config.content_dim != width:
            raise IndexMismatch(
                f"The index holds features of width {width}, the voice {entry.name!r} uses "
                f"{facts.config.content_dim}; {self._fitting(width)}.",
                value=width,
            )
        index_file = parcel.folder / INDEX_FILE
        index = IndexReport(width, found["index"]["vectors"], index_file.stat().st_size)
        if keep:
            token.check()
            self._store.add_index(entry, index_file, wanted.overwrite)
        return _report_of(entry.name, _plain(facts), index, entry.size)

    def _voice_for_index(self, name: str, width: int) -> VoiceEntry:
        voices = self._registry.voices()
        if not name:
            raise VoiceRequired(
                f"Name the voice that the index belongs to; {self._fitting(width)}.", param="name"
            )
        if name not in voices:
            raise VoiceNotFound(
                f"There is no voice {name[:80]!r} for the index; {self._fitting(width)}.",
                param="name",
            )
        return voices[name]

    def _describe(self, entry: VoiceEntry) -> VoiceFacts:
        return self._local.facts(entry.path, entry.identity)

    def _missing(self, voice: Path) -> list[str]:
        """What the server lacks to convert with a voice that was found good."""
        from rvc_core.voice import read_voice_facts

        try:
            self._local.engine.content(read_voice_facts(voice))
        except MissingWeights as error:
            return [error.message]
        return []

    def _fitting(self, width: int) -> str:
        """The voices whose features have that width, in words."""
        fitting = {}
        for name, entry in self._registry.voices().items():
            try:
                if self._describe(entry).config.content_dim == width:
                    fitting[name] = entry
            except CoreError:  # a file that is no voice has no width
                continue
        return f"of voices of that width, {listing(fitting)}"

    def _report(self, name: str, parcel: Parcel, found: dict[str, Any]) -> VoiceReport:
        index, warnings = None, self._missing(parcel.folder / VOICE_FILE)
        if "index" in found:
            size = (parcel.folder / INDEX_FILE).stat().st_size
            index = IndexReport(**found["index"], bytes=size)
        voices = self._registry.voices()
        if name in voices:
            warnings.append(f"There is a voice {name!r} already.")
        if index is None and name not in voices and self._registry.indexes_of(name):
            warnings.append("An index of that name is there already and will be used.")
        size = (parcel.folder / VOICE_FILE).stat().st_size
        facts = {**found["voice"], "warnings": warnings}
        return _report_of(name, facts, index, size)


def _plain(facts: VoiceFacts) -> dict[str, Any]:
    return {
        "version": facts.version,
        "sample_rate": facts.config.sample_rate,
        "f0": facts.config.uses_f0,
        "speakers": facts.config.n_speakers,
        "content": facts.content,
    }


def _report_of(
    name: str, facts: dict[str, Any], index: IndexReport | None, n_bytes: int
) -> VoiceReport:
    return VoiceReport(
        name=name,
        **{key: facts[key] for key in ("version", "sample_rate", "f0", "speakers", "content")},
        index=index,
        bytes=n_bytes + (index.bytes if index is not None else 0),
        summary=summarize(facts, index),
        notes=tuple(facts.get("notes", ())),
        warnings=tuple(facts.get("warnings", ())),
    )
