"""Write .env.example and the manual's table of settings anew, from the settings themselves."""

from __future__ import annotations

from pathlib import Path

from server.settings import SETTING_SPECS, example_environment

ROOT = Path(__file__).parents[1]
HEADING = "| key |"


def write_tables() -> None:
    """Bring both files up to date."""
    (ROOT / ".env.example").write_text(example_environment(), encoding="utf-8")
    page = ROOT / "docs" / "configuration.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(HEADING)) + 2
    stop = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    lines[start:stop] = [
        f"| `{spec.key}` | `{spec.flags[0]}` | {spec.default_text or 'empty'} | {spec.allowed} | "
        f"{spec.help} |"
        for spec in SETTING_SPECS
    ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_tables()
