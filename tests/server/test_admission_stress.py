"""Real threads and the real clock."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from random import Random

from rvc_core.errors import Cancelled
from rvc_core.token import Token
from server.admission import Admission, LaneFacts, Place
from tests.gpu.fakes import in_thread


class Crowd:
    """Many requests at once that watch each other while they run."""

    N_LANES, N_THREADS, N_EACH = 4, 20, 10

    def __init__(self) -> None:
        self.is_up = [True] * self.N_LANES
        self.admission = Admission(self.lanes, max_waiting_per_lane=100)
        self.lock = threading.Lock()
        self.pause = threading.Event()
        self.busy: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.mistakes: list[str] = []

    def lanes(self) -> list[LaneFacts]:
        return [LaneFacts(1, is_up) for is_up in self.is_up]

    def live(self, seed: int) -> None:
        """Some requests, one after the other; some are cancelled, and lanes fail at times."""
        random = Random(seed)
        for _ in range(self.N_EACH):
            token, lane = Token(timeout_s=60), random.randrange(self.N_LANES)
            if random.random() < 0.3:
                threading.Timer(random.uniform(0, 0.02), token.cancel).start()
            self.flip(lane, random.random() > 0.3)
            outcome = self.request(token, random.choice("uvw"))
            self.flip(lane, True)
            with self.lock:
                self.outcomes[outcome] += 1

    def flip(self, lane: int, is_up: bool) -> None:
        self.is_up[lane] = is_up
        self.admission.replan()

    def request(self, token: Token, key: str) -> str:
        try:
            with self.admission.admit(token), self.admission.place(token, key) as place:
                self.run(place, token)
        except Cancelled as error:
            return error.code
        return "done"

    def run(self, place: Place, token: Token) -> None:
        with self.lock:
            self.busy[place.lane] += 1
            if self.busy[place.lane] > 1:
                self.mistakes.append(f"two on lane {place.lane}")
        try:
            token.check()
            self.pause.wait(0.001)
        finally:
            with self.lock:
                self.busy[place.lane] -= 1


def test_many_threads_with_cancellations_and_failing_lanes_leave_nothing_behind() -> None:
    crowd = Crowd()
    threads = [in_thread(partial(crowd.live, seed)) for seed in range(crowd.N_THREADS)]
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert crowd.mistakes == []
    assert crowd.outcomes.total() == crowd.N_THREADS * crowd.N_EACH
    assert min(crowd.outcomes["done"], crowd.outcomes["cancelled"]) > 0
    assert (crowd.admission.n_inside, crowd.admission.n_in_line) == (0, 0)
    idle = {"interactive": 0, "batch": 0, "running": 0, "limit": 100}
    assert crowd.admission.counts() == [idle] * crowd.N_LANES
