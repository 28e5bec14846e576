"""Shows that a server is there and converts: health, readiness, the list of voices, a conversion.

    HOST=http://127.0.0.1:7861 MODEL=demo AUDIO=recording.wav python tests/run_smoke_test.py

Exit code: 0 passed, 1 failed, 2 not shown. HOST, MODEL (else the server's default, or the first
voice), AUDIO (else a sound made here) and API_KEY come from the environment.
"""

from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as this is a program

from tests.e2e.client import Job, Setup, run, say


def main(setup: Setup) -> bool:
    """Ask for everything once."""
    client = setup.client
    client.wait_ready()
    say(f"{client.host} is ready; it converts on {', '.join(client.devices())}.")
    voice = setup.voices(at_least=1, at_most=1)[0]
    recording = setup.recording(default_s=1.0)
    answer = client.convert(Job(voice), recording)
    with wave.open(io.BytesIO(answer.audio)) as file:
        rate: int = file.getframerate()
        seconds: float = file.getnframes() / rate
    say(
        f"{voice} gave {seconds:.2f} s of audio at {rate} Hz in {answer.wall_ms / 1000:.2f} s "
        f"on {answer.device}; the voice was {answer.state}."
    )
    passed = seconds > 0
    say("PASS" if passed else "FAIL: the answer has no samples.")
    return passed


if __name__ == "__main__":
    sys.exit(run(main))
