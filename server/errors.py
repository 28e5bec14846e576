"""What can go wrong in the server itself: one class for each cause, with a stable `code`."""

from __future__ import annotations

from typing import ClassVar


class ServerError(Exception):
    """A request that the server cannot serve; the message is one line, for people."""

    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(ServerError):
    """The request's body cannot be read, or a part that it needs is missing."""

    code = "invalid_request"


class UnsupportedMediaType(ServerError):
    """The body is of a type that the route does not read."""

    code = "unsupported_media_type"


class Unauthorized(ServerError):
    """The request carries no API key, or a wrong one."""

    code = "unauthorized"


class Forbidden(ServerError):
    """The route is closed on this server as it is set up."""

    code = "forbidden"


class RateLimited(ServerError):
    """The caller has sent as many requests as it may for now."""

    code = "rate_limited"


class TooManyAtOnce(ServerError):
    """The caller has as many requests at hand as its key allows."""

    code = "too_many_at_once"


class Preempted(ServerError):
    """The conversion was ended by an operator, who took its models away."""

    code = "preempted"


class ModelInUse(ServerError):
    """The models cannot be moved now: they are used or pinned."""

    code = "model_in_use"


class VoiceRequired(ServerError):
    """The request names no voice and there is no default."""

    code = "voice_required"


class QueueFull(ServerError):
    """As many requests wait as may."""

    code = "queue_full"


class Draining(ServerError):
    """The server is shutting down and takes no new work."""

    code = "draining"


class DeviceUnavailable(ServerError):
    """The device asked for in the settings is not there."""

    code = "device_unavailable"


class FeatureDisabled(ServerError):
    """The server can do it, but its settings do not allow it."""

    code = "feature_disabled"


class AddressRefused(ServerError):
    """The address given is not one that the server may turn to."""

    code = "address_refused"


class FetchFailed(ServerError):
    """Nothing usable could be fetched from the address given."""

    code = "fetch_failed"


class FetchTimeout(ServerError):
    """The address given took too long to answer."""

    code = "fetch_timeout"


class UploadTooLarge(ServerError):
    """What was sent, or fetched, is larger than allowed."""

    code = "upload_too_large"


class UnsafeArchive(ServerError):
    """The zip file holds what no upload of a voice may hold; nothing of it was kept."""

    code = "unsafe_archive"


class InspectionFailed(ServerError):
    """The file could not be read within the memory and time that uploads get."""

    code = "inspection_failed"


class VoiceExists(ServerError):
    """There is a voice of that name already."""

    code = "voice_exists"


class NoWorkerProcess(ServerError):
    """The models are in the server's own process, which cannot be replaced."""

    code = "no_worker_process"
