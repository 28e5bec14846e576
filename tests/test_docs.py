"""The manual says what the code says: routes, settings, options and error codes, nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api_server import create_app
from rvc_core.options import OPTION_SPECS
from server.api.convert_fields import ANSWER_HEADERS
from server.api.problems import RETRYABLE, STATUSES
from server.settings import SETTING_SPECS
from tests.server.fakes import fake_services

DOCS = Path(__file__).parents[1] / "docs"
ASSETS = ("swagger_ui.", "flasgger.")
OF_FLASGGER = {"flasgger.openapi", "flasgger.apidocs"}


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The table under the row of `heading`: further cells by first cell, without backquotes."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        first, *rest = (cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
        rows[first] = rest
    return rows


def test_every_setting_is_documented() -> None:
    documented = table("configuration.md", "key")
    assert documented == {
        spec.key: [spec.flags[0], spec.default_text or "empty", spec.allowed, spec.help]
        for spec in SETTING_SPECS
    }


def test_every_option_is_documented() -> None:
    documented = table("api.md", "option")
    assert list(documented) == [spec.api for spec in OPTION_SPECS]
    for spec in OPTION_SPECS:
        default = "unset" if spec.default is None else str(spec.default)
        if isinstance(spec.default, float):
            default = f"{spec.default:g}"
        assert documented[spec.api] == [default.replace("False", "false"), spec.allowed, spec.help]


def test_every_error_code_is_documented() -> None:
    documented = {code: cells[:2] for code, cells in table("api.md", "code").items()}
    assert documented == {
        code: [str(status), "yes" if code in RETRYABLE else "no"]
        for code, status in STATUSES.items()
    }


def test_every_route_is_documented(tmp_path: Path) -> None:
    app = create_app(fake_services(tmp_path))
    served = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(ASSETS) or rule.endpoint in OF_FLASGGER
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(table("api.md", "route")) == served


def test_every_header_of_an_answer_is_documented() -> None:
    documented = set(table("api.md", "header of the answer"))
    assert documented == ANSWER_HEADERS.keys() | {"X-Request-Id"}


@pytest.mark.parametrize("page", ["api.md", "configuration.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (DOCS / target).exists(), target
