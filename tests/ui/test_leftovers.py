from __future__ import annotations

import os
import time
from pathlib import Path

from ui.leftovers import remove_leftovers


def test_only_what_is_old_enough_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "a" / "old.wav", tmp_path / "b" / "new.wav"
    for path in (old, new):
        path.parent.mkdir()
        path.write_bytes(b"voice")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    assert remove_leftovers(tmp_path, 3600) == 1
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "none", 0) == 0
