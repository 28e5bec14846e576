"""The bodies of routes about single voices."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IndexAccepted(BaseModel):
    """An index."""

    content_dim: int = Field(description="Width of its features: 256 fits v1, 768 fits v2.")
    vectors: int
    bytes: int


class VoiceAccepted(BaseModel):
    """What an upload is."""

    name: str
    summary: str = Field(description="All of it in one sentence.")
    version: str
    sample_rate: int = Field(description="Hz.")
    f0: bool = Field(description="Whether the voice follows the recording's pitch.")
    speakers: int
    content: str = Field(description="The content encoder that the voice needs.")
    index: IndexAccepted | None
    bytes: int = Field(description="As it is kept, with its index.")
    notes: list[str] = Field(description="What was done to it.")
    warnings: list[str] = Field(description="What may surprise.")


class RenameRequest(BaseModel):
    """Another name for a voice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str


class VoiceLoadRequest(BaseModel):
    """Where a voice is to be; an empty body means on a device."""

    model_config = ConfigDict(extra="forbid", strict=True)

    target: Literal["gpu", "cpu"] = Field(
        "gpu", description="gpu: on its device, which may be the CPU; cpu: in host memory."
    )
    pin: bool | None = Field(None, description="Also keep it there, or no longer; unset: as it is.")


class VoiceLoaded(BaseModel):
    """Where a voice is now."""

    id: str
    state: str
    device: str | None
    bytes: int = Field(description="Of its weights.")
    seconds: float = Field(description="Spent on waiting and loading.")
    pinned: bool
    state_at_arrival: str = Field(description="What it was before.")


class UnloadRequest(BaseModel):
    """How to unload a voice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    force: bool = Field(
        False, description="Also if it is pinned, and cancel the conversions that use it."
    )


class PinRequest(BaseModel):
    """Whether a voice stays where it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pinned: bool
