"""Who listens to a conversion under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.metrics import Journey
from server.records import ResultPart

if TYPE_CHECKING:
    from rvc_core.run import Progress


@dataclass(frozen=True)
class Audience:
    """Whom to tell how far a conversion is, and to whom the parts of its result go."""

    on_progress: Callable[[Progress], None] | None = None
    on_part: Callable[[ResultPart], None] | None = None

    @property
    def wants_parts(self) -> bool:
        """Whether anybody takes the result in parts."""
        return self.on_part is not None

    def follow(self, journey: Journey) -> Callable[[Progress | ResultPart], None]:
        """What to call with every report of the conversion on that journey."""

        def hear(report: Progress | ResultPart) -> None:
            journey.work()
            if isinstance(report, ResultPart):
                if self.on_part is not None:
                    queue_s = journey.waited_s + report.queue_s
                    self.on_part(replace(report, queue_s=queue_s))
            elif self.on_progress is not None:
                self.on_progress(report)

        return hear
