"""Files of visitors that outlived the server that had them."""

from __future__ import annotations

import time
from pathlib import Path


def remove_leftovers(folder: Path, older_than_s: float) -> int:
    """Delete files under `folder` that were last written so long ago; return how many."""
    oldest = time.time() - older_than_s
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    expired = [path for path in files if path.stat().st_mtime < oldest]
    for path in expired:
        path.unlink(missing_ok=True)
    return len(expired)
