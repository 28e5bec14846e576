"""Dockerfile and docker-compose.yml, as far as they can be checked without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_a_service_is_confined(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    assert service["user"] == "10001"
    assert service["mem_limit"]
    assert service["logging"]["driver"] == "json-file"
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_a_service_stops_cleanly_and_has_room(service: dict[str, Any]) -> None:
    assert service["init"] is True
    assert service["stop_grace_period"] == "60s"
    assert service["shm_size"] == "2gb"


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_a_service_is_published_on_loopback_and_takes_its_key_from_outside(
    service: dict[str, Any],
) -> None:
    assert all(port.startswith("${PUBLISH_HOST:-127.0.0.1}:") for port in service["ports"])
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["7860", "7861"]
    assert service["environment"]["BIND_HOST"] == "0.0.0.0"
    assert service["environment"]["API_KEY"] == "${API_KEY:-}"


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
def test_what_is_to_stay_is_in_volumes(service: dict[str, Any]) -> None:
    volumes = dict(volume.split(":") for volume in service["volumes"])
    assert set(volumes.values()) == set(re.findall(r'"(/app/\w+)"', DOCKERFILE))
    assert volumes.keys() == COMPOSE["volumes"].keys()


def test_one_profile_has_a_gpu_and_one_has_none() -> None:
    gpu, cpu = SERVICES["voice"], SERVICES["voice-cpu"]
    assert (gpu["profiles"], cpu["profiles"]) == (["gpu"], ["cpu"])
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert [name for name in device["device_ids"] if "," in name] == []
    assert "deploy" not in cpu
    assert cpu["environment"]["DEVICE"] == "cpu"


def test_the_image_runs_as_a_user_of_its_own_and_tells_its_health() -> None:
    assert "\nUSER 10001\n" in DOCKERFILE
    assert re.search(r"HEALTHCHECK [^\[]*CMD \[.*127\.0\.0\.1:7861/health", DOCKERFILE)
    assert 'CMD ["python", "main.py"]' in DOCKERFILE.splitlines()[-1]
    assert "BIND_HOST=0.0.0.0" in DOCKERFILE


def test_the_image_has_every_folder_of_the_product_and_no_models() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    packages -= {"tests", "benchmarks", "deployment"}
    assert packages <= kept
    assert "models" not in kept
