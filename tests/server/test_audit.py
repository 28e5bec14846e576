from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from server.audit import AuditLog, without_secrets
from server.setting_groups import LogSettings
from server.setting_specs import InvalidSetting


def test_each_record_is_a_line_of_json_that_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    audit = AuditLog(LogSettings(audit_log=path))
    audit.write({"caller": "anna\nboss", "status": 200})
    audit.write({"caller": "100 %s"})
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["caller"], first["status"]) == ("anna\nboss", 200)
    assert first["time"].endswith("+00:00")
    assert second["caller"] == "100 %s"
    audit.close()


def test_records_are_added_to_those_of_former_runs(tmp_path: Path) -> None:
    settings = LogSettings(audit_log=tmp_path / "audit.jsonl")
    for _ in range(2):
        audit = AuditLog(settings)
        audit.write({})
        audit.close()
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_is_told_once_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    audit = AuditLog(LogSettings(audit_log=Path("/dev/full")))
    for _ in range(3):
        audit.write({"caller": "anna"})
    audit.close()
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "/dev/full cannot be written; lines are lost."
    ]


def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="AUDIT_LOG is"):
        AuditLog(LogSettings(audit_log=tmp_path))


def test_without_a_file_nothing_happens() -> None:
    AuditLog(LogSettings()).write({"caller": "anna"})


def test_secrets_and_long_values_stay_out() -> None:
    given = {
        "model": "m" * 300,
        "pin": True,
        "webhook_secret": "s",
        "API_KEY": "k",
        "accessToken": "t",
        "items": [1],
    }
    assert without_secrets(given) == {"model": "m" * 200, "pin": True}
