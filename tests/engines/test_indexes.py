from __future__ import annotations

from pathlib import Path

import pytest

from engines.indexes import IndexCache
from rvc_core.errors import InvalidIndex
from tests.gpu.fakes import in_thread
from tests.server.live import write_index


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three indexes of the same size."""
    found = [tmp_path / "i" / f"{name}.index" for name in "abc"]
    for path in found:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        write_over(path)
    return found


def write_over(path: Path, n_vectors: int = 64) -> None:
    written = path.parent / "new" / path.name
    write_index(written, 768, n_vectors)
    written.replace(path)


def room_for(n: int, path: Path) -> IndexCache:
    return IndexCache(n * path.stat().st_size)


def test_an_index_is_read_again_only_when_its_file_has_changed(paths: list[Path]) -> None:
    cache = room_for(3, paths[0])
    first = cache.get(paths[0])
    assert cache.get(paths[0]) is first
    write_over(paths[0], n_vectors=9)
    assert cache.get(paths[0]).n_vectors == 9
    assert cache.nbytes == paths[0].stat().st_size


def test_the_least_recently_used_leaves_first(paths: list[Path]) -> None:
    cache = room_for(2, paths[0])
    a, b = cache.get(paths[0]), cache.get(paths[1])
    assert cache.get(paths[0]) is a
    cache.get(paths[2])
    assert cache.get(paths[0]) is a
    assert cache.get(paths[1]) is not b


def test_one_that_is_larger_than_the_bound_is_kept_while_it_is_used(paths: list[Path]) -> None:
    cache = IndexCache(0)
    a = cache.get(paths[0])
    assert cache.get(paths[0]) is a
    cache.get(paths[1])
    assert cache.get(paths[0]) is not a


def test_all_can_be_forgotten(paths: list[Path]) -> None:
    cache = room_for(2, paths[0])
    a = cache.get(paths[0])
    cache.clear()
    assert cache.nbytes == 0
    assert cache.get(paths[0]) is not a


def test_threads_that_want_the_same_index_share_one_reading(paths: list[Path]) -> None:
    cache, found = room_for(2, paths[0]), []
    for thread in [in_thread(lambda: found.append(cache.get(paths[0]))) for _ in range(8)]:
        thread.join(30)
    assert len(found) == 8
    assert len({id(index) for index in found}) == 1


def test_a_broken_index_is_named_and_not_kept(paths: list[Path]) -> None:
    cache = room_for(2, paths[0])
    paths[0].write_bytes(b"no index")
    for _ in range(2):
        with pytest.raises(InvalidIndex, match="a.index"):
            cache.get(paths[0])
    assert cache.nbytes == 0


def test_an_index_whose_file_has_gone_is_named(paths: list[Path]) -> None:
    cache = room_for(2, paths[0])
    cache.get(paths[0])
    paths[0].unlink()
    with pytest.raises(InvalidIndex, match="There is no index"):
        cache.get(paths[0])
