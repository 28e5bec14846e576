from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SLOW = (  # each takes 0.3 s or more to import, and 50 MB
    "librosa",
    "numba",
    "torchfcpe",
    "matplotlib",
    "transformers",
    "torch._dynamo",
    "torchaudio",
    "pandas",
)
CONVERT = """
import sys
from pathlib import Path
from rvc_core.converter import VoiceConverter
from rvc_core.f0 import load_f0_estimator
from rvc_core.options import ConversionOptions
from tests.rvc_core.tiny import TinyVoice, hubert_like, tone

voice = TinyVoice().load(Path(sys.argv[1]))
converter = VoiceConverter(voice, hubert_like())
result = converter.convert(tone(0.5), ConversionOptions(), load_f0_estimator("fcpe"))
assert result.audio.samples.any()
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


def test_a_conversion_does_without_packages_that_are_slow_to_import(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CONVERT, str(tmp_path), *SLOW],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, [], "")
