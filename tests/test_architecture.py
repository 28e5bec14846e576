"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RANK = {
    "rvc_core": 0,
    "gpu": 0,
    "gpu_manager": 1,
    "engines": 1,
    "demo_voice": 1,
    "server": 2,
    "ui": 3,
    "app": 4,
    "api_server": 4,
    "main": 5,
}
# Slow to import (over 0.3 s) or optional: inside the function that needs them, never at the top.
LATE = {"torchfcpe", "torchcrepe", "swift_f0", "parselmouth", "onnx", "faster_whisper", "librosa"}
SETTINGS = Path("server/settings.py")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_files(*parts: str) -> list[Path]:
    """Every Python file of the named files and folders, relative to the repository."""
    found: list[Path] = []
    for part in parts:
        found += (ROOT / part).rglob("*.py") if (ROOT / part).is_dir() else []
        found += [ROOT / f"{part}.py"] if (ROOT / f"{part}.py").is_file() else []
    return sorted(path.relative_to(ROOT) for path in found)


PRODUCT = python_files(*RANK, "scripts")
EVERYTHING = [*PRODUCT, *python_files("tests", "benchmarks", "deployment", "concurrent_test")]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The top-level names that absolute imports among `nodes` ask for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def upward_imports(path: Path, tree: ast.Module) -> list[str]:
    """Our own modules that `path` imports although they are not below it."""
    top = path.parts[0].removesuffix(".py")
    asked = set(imported(ast.walk(tree)))
    return sorted(name for name in asked & RANK.keys() if name != top and RANK[name] >= RANK[top])


def long_functions(tree: ast.Module) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= MAX_FUNCTION_LINES]


def work_at_import(tree: ast.Module) -> list[str]:
    """Top-level statements that do more than define names."""
    allowed = (
        *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.If, ast.Try),
        *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    )
    docstring = ast.get_docstring(tree) is not None
    rest = tree.body[1:] if docstring else tree.body
    return [ast.unparse(node) for node in rest if not isinstance(node, allowed)]


def uses(tree: ast.Module, *names: str) -> list[str]:
    """Which of the names such as "print" or "os.environ" the code mentions, and where."""
    found = []
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
        if name in names and isinstance(node, ast.expr):
            found.append(f"{name}, line {node.lineno}")
    return found


def is_import_of_environ(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == "os"
        and any(alias.name in {"environ", "getenv"} for alias in node.names)
    )


def violations(paths: list[Path], rule: Callable[[Path], object]) -> dict[str, object]:
    """What `rule` finds in each file where it finds something."""
    return {str(path): found for path in paths if (found := rule(path))}


def test_imports_go_down_only() -> None:
    ours = [path for path in PRODUCT if path.parts[0] != "scripts"]
    assert violations(ours, lambda path: upward_imports(path, tree_of(path))) == {}


def test_modules_do_no_work_at_import() -> None:
    assert violations(PRODUCT, lambda path: work_at_import(tree_of(path))) == {}


def test_no_function_changes_module_state() -> None:
    def globals_in(path: Path) -> list[str]:
        return [ast.unparse(n) for n in ast.walk(tree_of(path)) if isinstance(n, ast.Global)]

    assert violations(PRODUCT, globals_in) == {}


def test_slow_or_optional_packages_are_imported_late() -> None:
    assert violations(PRODUCT, lambda path: LATE & set(imported(iter(tree_of(path).body)))) == {}


def test_nothing_prints() -> None:
    assert violations(PRODUCT, lambda path: uses(tree_of(path), "print")) == {}


def test_only_the_settings_read_the_environment() -> None:
    def reads(path: Path) -> list[str]:
        tree = tree_of(path)
        found = uses(tree, "os.environ", "os.getenv", "os.putenv")
        return found + [ast.unparse(n) for n in ast.walk(tree) if is_import_of_environ(n)]

    assert violations([p for p in PRODUCT if p != SETTINGS], reads) == {}


def test_files_are_short() -> None:
    def excess(path: Path) -> int:
        n_lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        return n_lines if n_lines > MAX_FILE_LINES else 0

    assert violations(EVERYTHING, excess) == {}


def test_functions_are_short() -> None:
    assert violations(EVERYTHING, lambda path: long_functions(tree_of(path))) == {}


def test_every_part_of_the_product_has_a_rank() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "tests",
        "scripts",
        "benchmarks",
        "deployment",  # what others copy: it uses nothing of ours
    }
    modules = {path.stem for path in ROOT.glob("*.py")} - {"concurrent_test"}
    assert folders | modules <= RANK.keys()


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("rvc_core/audio.py", "from server.settings import Settings", ["server"]),
        ("engines/rvc.py", "import gpu_manager", ["gpu_manager"]),
        ("engines/rvc.py", "def load():\n    import app", ["app"]),
        ("engines/rvc.py", "import rvc_core.audio\nimport engines.base", []),
        ("demo_voice/build.py", "from rvc_core.weights import read_state", []),
    ],
)
def test_an_upward_or_sideways_import_is_found(path: str, source: str, found: list[str]) -> None:
    assert upward_imports(Path(path), ast.parse(source)) == found


def test_a_long_function_and_work_at_import_are_found() -> None:
    body = "\n".join("    x = 1" for _ in range(MAX_FUNCTION_LINES))
    assert long_functions(ast.parse(f"def long():\n{body}")) == ["long"]
    assert work_at_import(ast.parse("'''doc'''\nimport os\nos.mkdir('x')")) == ["os.mkdir('x')"]
    assert uses(ast.parse("import os\nos.environ['A']"), "os.environ") == ["os.environ, line 2"]
