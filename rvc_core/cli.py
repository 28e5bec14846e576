"""The command line; options are those of the API, with dashes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rvc_core.errors import CoreError, InvalidOption, VoiceNotFound
from rvc_core.options import OPTION_SPECS, ConversionOptions, OptionSpec

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code is 0, 1 if something failed, 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], int] = parsed.run
        return run(parsed)
    except CoreError as error:
        return _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rvc_core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    convert = commands.add_parser("convert", help="convert recordings into a voice")
    convert.set_defaults(run=_convert)
    convert.add_argument("inputs", nargs="+", type=Path, metavar="IN")
    convert.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="a file, or a folder for several"
    )
    convert.add_argument("--voice", required=True, help="file of a voice, or name of one installed")
    convert.add_argument("--index", type=Path, help="index to use instead of the voice's own")
    convert.add_argument("--content-encoder", type=Path, help="folder or file of its weights")
    convert.add_argument("--rmvpe", type=Path, help="weights of the F0 estimator RMVPE")
    convert.add_argument("--models", type=Path, default=Path("models"), help="default: models")
    convert.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: cpu")
    convert.add_argument("--threads", type=_positive, help="of computation; default: all cores")
    convert.add_argument("--json", action="store_true", help="report in JSON, a line per input")
    for spec in OPTION_SPECS:
        _add_option(convert, spec)
    inspect = commands.add_parser("inspect", help="say what a checkpoint or index is")
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _add_option(parser: argparse.ArgumentParser, spec: OptionSpec) -> None:
    default = "" if spec.default is None else f" Default: {str(spec.default).lower()}."
    parser.add_argument(
        spec.flag,
        dest=f"option_{spec.api}",
        default=None,
        metavar="V" if spec.choices is None else "{" + ",".join(spec.choices) + "}",
        nargs="?" if spec.kind is bool else None,
        const="true" if spec.kind is bool else None,
        help=f"{spec.help}{default}".replace("%", "%%"),
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _fail(error: CoreError, subject: str = "") -> int:
    """Say what is wrong, in one line; return the exit code."""
    sys.stderr.write(f"{error.code}: {subject}{error.message}\n")
    return EXIT_USAGE if isinstance(error, InvalidOption) else EXIT_FAILED


def _convert(parsed: argparse.Namespace) -> int:
    from rvc_core.audio import AUDIO_FORMATS

    given = {
        name.removeprefix("option_"): value
        for name, value in vars(parsed).items()
        if name.startswith("option_") and value is not None
    }
    options = ConversionOptions.from_api(given)
    outputs = _plan_outputs(parsed.inputs, parsed.output, AUDIO_FORMATS)
    convert_file = _load(parsed, options)
    codes = []
    for source, target in _with_progress(list(zip(parsed.inputs, outputs, strict=True))):
        codes.append(_convert_one(convert_file, source, target, parsed.json))
    return max(codes)


def _convert_one(
    convert_file: Callable[[Path, Path], dict[str, Any]], source: Path, target: Path, as_json: bool
) -> int:
    """Convert one file and report; a failure leaves the other inputs alone."""
    try:
        report = convert_file(source, target)
    except CoreError as error:
        if as_json:
            failure = {"code": error.code, "message": error.message}
            _say(json.dumps({"input": str(source), "error": failure}))
        return _fail(error, f"{source}: ")
    if as_json:
        _say(json.dumps({"input": str(source), "output": str(target), **report}))
    else:
        seconds = report["timings"]["total"]
        _say(f"{target}  {report['duration_s']:.2f} s of audio in {seconds:.2f} s")
        for warning in report["warnings"]:
            sys.stderr.write(f"warning: {source}: {warning}\n")
    return EXIT_OK


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)  # does not tear a progress bar apart


def _with_progress(work: list[tuple[Path, Path]]) -> Iterator[tuple[Path, Path]]:
    """The same work, with a progress bar on a terminal if there are several inputs."""
    from tqdm import tqdm

    hidden = len(work) == 1 or not sys.stderr.isatty()
    yield from tqdm(work, unit="file", disable=hidden, file=sys.stderr)


def _plan_outputs(inputs: list[Path], output: str, formats: Any) -> list[Path]:
    """One path for each input: the file given, or names in the folder given."""
    target = Path(output)
    is_folder = target.is_dir() or output.endswith(("/", "\\")) or len(inputs) > 1
    if not is_folder:
        if target.suffix.lower().removeprefix(".") not in formats:
            raise InvalidOption(f"{target} does not end in .{', .'.join(formats)}.", param="output")
        outputs = [target]
    else:
        if target.is_file():
            raise InvalidOption(f"{target} is a file; several inputs need a folder.")
        outputs = _names_in(target, inputs)
    for source, path in zip(inputs, outputs, strict=True):
        if source.resolve() == path.resolve():
            raise InvalidOption(f"{path} would overwrite its own input.", param="output")
        path.parent.mkdir(parents=True, exist_ok=True)
    return outputs


def _names_in(folder: Path, inputs: list[Path]) -> list[Path]:
    """NAME.wav for each input; inputs of the same name get a number."""
    names: list[str] = []
    for source in inputs:
        name, number = source.stem, 2
        while name in names:
            name, number = f"{source.stem}-{number}", number + 1
        names.append(name)
    return [folder / f"{name}.wav" for name in names]


def _load(
    parsed: argparse.Namespace, options: ConversionOptions
) -> Callable[[Path, Path], dict[str, Any]]:
    """Load every network once; the function returned converts a file and says how it went."""
    import torch

    from rvc_core.audio import read_audio, write_audio
    from rvc_core.content import find_content_encoder, load_content_encoder
    from rvc_core.converter import VoiceConverter
    from rvc_core.f0 import load_f0_estimator
    from rvc_core.library import default_f0_method, rmvpe_weights
    from rvc_core.retrieval import load_index
    from rvc_core.voice import load_voice

    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    path, index_path = _find_voice(parsed)
    voice = load_voice(path, parsed.device)
    encoder_path = parsed.content_encoder or find_content_encoder(parsed.models, voice.facts)
    encoder = load_content_encoder(encoder_path, parsed.device)
    index = load_index(index_path) if index_path and options.index_rate > 0 else None
    converter = VoiceConverter(voice, encoder, index)
    estimator = None
    if voice.uses_f0:
        weights = parsed.rmvpe or rmvpe_weights(parsed.models)
        method = options.f0_method
        if method == "auto":
            method = "rmvpe" if parsed.rmvpe else default_f0_method(parsed.models)
        estimator = load_f0_estimator(method, weights, parsed.device)

    def convert_file(source: Path, target: Path) -> dict[str, Any]:
        result = converter.convert(read_audio(source), options, estimator)
        write_audio(target, result.audio)
        return {
            "sample_rate": result.audio.sample_rate,
            "duration_s": result.audio.duration_s,
            "timings": {name: round(seconds, 4) for name, seconds in result.timings.items()},
            "warnings": list(result.warnings),
        }

    return convert_file


def _find_voice(parsed: argparse.Namespace) -> tuple[Path, Path | None]:
    """The voice's file and its index, from a path or from the name of an installed voice."""
    from rvc_core.library import VoiceLibrary

    given = Path(parsed.voice)
    if given.is_file():
        return given, parsed.index
    if given.suffix and given.parent != Path():
        raise VoiceNotFound(f"There is no file {given}.", param="voice", value=parsed.voice)
    library = VoiceLibrary(parsed.models / "voices", parsed.models / "indexes")
    entry = library.find(parsed.voice)
    return entry.path, parsed.index or entry.index


def _inspect(parsed: argparse.Namespace) -> int:
    from rvc_core.inspection import inspect_file

    facts = inspect_file(parsed.file)
    if parsed.json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False) + "\n")
    else:
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            sys.stdout.write(f"{name:<{width}}  {_shown(value)}\n")
    return EXIT_OK


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return str(value)
