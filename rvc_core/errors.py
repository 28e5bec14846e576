"""What can go wrong in a conversion: one class for each cause, each with a stable `code`."""

from __future__ import annotations

from typing import Any, ClassVar


class CoreError(Exception):
    """A conversion that cannot be done; the message is one line, for people."""

    code: ClassVar[str] = "core_error"

    def __init__(self, message: str, *, param: str | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.value = value


class InvalidOption(CoreError):
    """A conversion option has a value outside of what it allows."""

    code = "invalid_option"


class SpeakerOutOfRange(InvalidOption):
    """The voice has no speaker of that number."""

    code = "speaker_out_of_range"


class InvalidAudio(CoreError):
    """The audio was decoded, but cannot be converted."""

    code = "invalid_audio"


class EmptyAudio(InvalidAudio):
    """The audio has no samples."""

    code = "empty_audio"


class NonFiniteAudio(InvalidAudio):
    """The audio has samples that are NaN or infinite."""

    code = "non_finite_audio"


class AudioTooLong(InvalidAudio):
    """The audio is longer than the limit given."""

    code = "audio_too_long"


class UndecodableAudio(CoreError):
    """The bytes are no audio that can be decoded."""

    code = "undecodable_audio"


class InvalidCheckpoint(CoreError):
    """The file is no voice, or a damaged one."""

    code = "invalid_checkpoint"


class UnsafeCheckpoint(InvalidCheckpoint):
    """The file holds more than tensors and plain values; nothing in it was run."""

    code = "unsafe_checkpoint"


class TrainingCheckpoint(InvalidCheckpoint):
    """The file is a checkpoint of a training run, not a voice."""

    code = "training_checkpoint"


class UnsupportedVocoder(InvalidCheckpoint):
    """The voice has a decoder that is not HiFi-GAN."""

    code = "unsupported_vocoder"


class InvalidWeights(CoreError):
    """The file of a content encoder or F0 estimator is damaged or of another kind."""

    code = "invalid_weights"


class MissingWeights(CoreError):
    """The file of a content encoder or F0 estimator is not there."""

    code = "missing_weights"


class MissingPackage(CoreError):
    """An optional package is not installed."""

    code = "missing_package"


class ContentEncoderMismatch(CoreError):
    """The voice was trained on the features of another content encoder."""

    code = "content_encoder_mismatch"


class InvalidIndex(CoreError):
    """The index file is damaged, empty or of a kind that cannot be searched."""

    code = "invalid_index"


class IndexMismatch(InvalidIndex):
    """The index holds features of another width than the voice uses."""

    code = "index_mismatch"


class NonFiniteOutput(CoreError):
    """The network gave NaN or infinite samples, in float32 too."""

    code = "non_finite_output"


class OutOfMemory(CoreError):
    """The device has too little memory, even for the shortest pieces."""

    code = "out_of_memory"


class Cancelled(CoreError):
    """The caller gave up."""

    code = "cancelled"


class DeadlineExceeded(CoreError):
    """The time allowed for the request is over."""

    code = "deadline_exceeded"


class VoiceNotFound(CoreError):
    """No voice of that name is installed."""

    code = "voice_not_found"


class IndexNotFound(CoreError):
    """No index of that name is installed."""

    code = "index_not_found"
