from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server.jobs.owner import Owner

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, time
from pathlib import Path
from server.jobs.owner import Owner
print(Owner(Path(sys.argv[1])).id, flush=True)
time.sleep(60)
"""


def test_an_owner_lives_until_it_closes(tmp_path: Path) -> None:
    one, other = Owner(tmp_path), Owner(tmp_path)
    assert one.is_alive(one.id) and one.is_alive(other.id)
    other.close()
    assert not one.is_alive(other.id)
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_asking_does_not_take_the_life_of_the_living(tmp_path: Path) -> None:
    one, other = Owner(tmp_path), Owner(tmp_path)
    assert [one.is_alive(other.id) for _ in range(3)] == [True] * 3
    one.forget_the_dead()
    assert one.is_alive(other.id)
    one.close()
    other.close()


def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    mine = Owner(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = process.stdout.readline().strip()
        assert mine.is_alive(theirs)
        process.kill()
        process.wait(10)
        assert not mine.is_alive(theirs)
    assert len(list(tmp_path.iterdir())) == 1
    mine.close()
