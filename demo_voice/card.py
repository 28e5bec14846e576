"""What people are told about the demo voice, wherever it is offered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CARD: Mapping[str, str] = MappingProxyType(
    {
        "name": "Demo voice (Joe, American English)",
        "origin": (
            "Prior: trained for this project on synthetic speech. Flow and decoder: the Piper "
            "voice en_US-joe-medium, fine-tuned by its authors from the Piper voice lessac. "
            "Content encoder: Whisper tiny.en by OpenAI."
        ),
        "licence": (
            "Prior: MIT, as this project. Piper voice: its data is CC0 by its model card; its "
            "ancestor's corpus has restrictions. Whisper: MIT, Copyright (c) 2022 OpenAI."
        ),
        "notice": (
            "Evaluation and testing, not for commercial use: the decoder's ancestor was "
            "fine-tuned from a corpus with restrictions."
        ),
    }
)
