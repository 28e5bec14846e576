from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flask.testing import FlaskClient

from api_server import create_app
from tests.server.fakes import fake_services

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "gradio", "librosa", "transformers", "faiss")


def test_making_the_app_imports_nothing_heavy() -> None:
    code = (
        "import sys, main, api_server\n"
        "from server.services import build_services\n"
        "from server.settings import Settings\n"
        "api_server.create_app(build_services(Settings()))\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_two_apps_in_one_process_do_not_share_anything(tmp_path: Path) -> None:
    one = create_app(fake_services(tmp_path, api_key="k")).test_client()
    other = create_app(fake_services(tmp_path)).test_client()
    assert "security" in one.get("/openapi.json").get_json()["paths"]["/api/v1/models"]["get"]
    assert "security" not in other.get("/openapi.json").get_json()["paths"]["/api/v1/models"]["get"]
    assert (one.get("/info").status_code, other.get("/info").status_code) == (401, 200)


def test_every_answer_carries_a_request_id_and_is_not_sniffed(tmp_path: Path) -> None:
    client: FlaskClient = create_app(fake_services(tmp_path)).test_client()
    answer = client.get("/health", headers={"X-Request-Id": "abc.1"})
    assert answer.headers["X-Request-Id"] == "abc.1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
