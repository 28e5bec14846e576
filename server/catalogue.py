"""What voices there are, what their files say of them and where they are now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rvc_core.errors import CoreError
from rvc_core.library import VoiceEntry
from server.conversion import DeviceConverter
from server.fleet import Fleet
from server.records import VoiceInfo
from server.settings import Settings

if TYPE_CHECKING:
    from rvc_core.voice import VoiceFacts

UNUSED = ("unloaded", None)
VOICE = "voice:"  # how the manager's ids of voices begin: voice:NAME@HASH


class Catalogue:
    """Lists voices; `local` is the converter of this process, `fleet` all devices."""

    def __init__(self, settings: Settings, local: DeviceConverter, fleet: Fleet) -> None:
        self._settings = settings
        self._local = local
        self._fleet = fleet

    def voices(self) -> list[VoiceInfo]:
        """All voices on disk, those whose file cannot be used too."""
        entries = self._local.registry.voices()
        self._local.leases.forget_all_but(entries)
        states, uses = self._fleet.states(), self._uses()
        return [
            self._info(entry, states.get(name, UNUSED), uses.get(name, {}))
            for name, entry in entries.items()
        ]

    def voice(self, name: str) -> VoiceInfo:
        """One voice; raise `VoiceNotFound`."""
        entry = self._local.registry.find(name)
        state = self._fleet.states().get(entry.name, UNUSED)
        return self._info(entry, state, self._uses().get(entry.name, {}))

    def default(self) -> str | None:
        """The voice of requests that name none."""
        if self._settings.default_voice:
            return self._settings.default_voice
        names = list(self._local.registry.voices())
        return names[0] if len(names) == 1 else None

    def describe(self, entry: VoiceEntry) -> VoiceFacts:
        """What a voice's file says; raise its `CoreError`, if any."""
        return self._local.facts(entry.path, entry.identity)

    def _uses(self) -> dict[str, dict[str, Any]]:
        """What the devices say of each voice, of the one where it was used last."""
        found: dict[str, dict[str, Any]] = {}
        for device in self._fleet.status()["devices"]:
            for model in device["models"]:
                if model["id"].startswith(VOICE) and model["last_used"] is not None:
                    name = model["id"][len(VOICE) :].rpartition("@")[0]
                    if name not in found or model["last_used"] > found[name]["last_used"]:
                        found[name] = model
        return found

    def _info(
        self, entry: VoiceEntry, where: tuple[str, str | None], use: dict[str, Any]
    ) -> VoiceInfo:
        facts, problem = None, None
        try:
            facts = self.describe(entry)
        except CoreError as error:
            problem = error.message
        release_at = use.get("release_at")
        return VoiceInfo(
            id=entry.name,
            engine="rvc",
            kind="voice",
            sample_rate=facts.config.sample_rate if facts else None,
            version=facts.version if facts else None,
            f0=facts.config.uses_f0 if facts else None,
            speakers=facts.config.n_speakers if facts else None,
            content=facts.content if facts else None,
            index=entry.index is not None,
            bytes=entry.size,
            state=where[0],
            device=where[1],
            pinned=self._local.leases.is_pinned(entry.name),
            last_used=use.get("last_used"),
            ttl=None if release_at is None else max(0.0, round(release_at - time.time(), 3)),
            card=facts.card if facts else {},
            error=problem,
        )
