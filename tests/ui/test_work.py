from __future__ import annotations

import threading

import pytest

from ui.work import Background, Visitors


def test_work_ends_with_its_result() -> None:
    work = Background(lambda: 42)
    list(work.ticks(0.01))
    assert (work.error, work.result()) == (None, 42)


def test_work_that_runs_ticks() -> None:
    goes_on = threading.Event()
    work = Background(lambda: goes_on.wait(5))
    ticks = work.ticks(0.001)
    assert next(ticks) <= next(ticks)
    goes_on.set()
    assert len(list(work.ticks(5))) == 0


def test_an_error_is_kept_for_who_asks() -> None:
    work = Background(lambda: 1 / 0)
    list(work.ticks(0.01))
    assert isinstance(work.error, ZeroDivisionError)


def test_stop_ends_the_visitors_own_work_only() -> None:
    visitors = Visitors()
    with visitors.running("anna", 60) as hers, visitors.running("ben", 60) as his:
        assert visitors.stop("ben")
        assert (hers.cancelled, his.cancelled) == (False, True)


def test_work_is_cancelled_when_nobody_waits_any_more() -> None:
    visitors = Visitors()
    with pytest.raises(GeneratorExit), visitors.running("anna", 60) as token:
        raise GeneratorExit
    assert token.cancelled
    assert not visitors.stop("anna")


def test_an_older_conversion_that_ends_leaves_the_newer_one_stoppable() -> None:
    visitors = Visitors()
    older = visitors.running("anna", 60)
    older.__enter__()
    with visitors.running("anna", 60) as newer:
        older.__exit__(None, None, None)
        assert visitors.stop("anna")
        assert newer.cancelled
