"""Data only moves down DESIGN's list: no module imports one that stands below it."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import memptm

ROOT = Path(memptm.__file__).parent
LAYERS = [
    {"types", "errors", "progress", "extras", "models", "model_files", "graph"},
    {"documents"},
    {"working"},
    {"encoders"},
    {"memory"},
    {"generation"},
    {"selection"},
    {"reasoning"},
    {"answering"},
    {"pipeline", "session"},
    {"training", "evaluation", "serving"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part(module: str) -> str | None:
    """The layer's name of ``memptm.part.module``; None for other packages and for memptm itself."""
    names = module.split(".")
    return names[1] if names[0] == "memptm" and len(names) > 1 else None


def imported(path: Path) -> set[str]:
    """The parts a module imports, anywhere in it, for its types too."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name for alias in node.names if (name := part(alias.name))}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: imports are absolute here"
            if node.module == "memptm":
                found |= {alias.name for alias in node.names if alias.name in LEVEL}
            elif name := part(node.module or ""):
                found.add(name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_own_layer_and_those_above(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} is not in DESIGN's order"
    below = sorted(name for name in imported(path) if LEVEL[name] > LEVEL[own])
    assert not below, f"{own} imports {', '.join(below)}, which stand below it"


TESTS = Path(__file__).parent
SEVERAL = {  # files about more than one module; all others are named after theirs
    "test_imports.py",
    "test_layers.py",
    "test_docs.py",
    "test_tutorials.py",
    "test_locomo.py",
    "cli/test_cli.py",
    "cli/test_start_up.py",
    "cli/test_generate.py",
    "documents/formats/test_office.py",
    "documents/formats/test_plain_formats.py",
    "encoders/test_packaged.py",
    "generation/test_generator_load.py",
    "generation/test_rag_parity.py",
    "memory/test_processes.py",
    "training/recipes/test_every.py",
    "working/test_compiled.py",
}


def test_tests_mirror_the_package() -> None:
    found = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    named = {path: ROOT / path.with_name(path.name.removeprefix("test_")) for path in found}
    without = {str(path) for path, module in named.items() if not (module.is_file() or module.with_suffix("").is_dir())}
    assert without == SEVERAL
    assert all(module.parent.is_dir() for module in named.values())


def modules_imported(path: Path) -> set[str]:
    """The modules of memptm that a module imports, anywhere in it, for its types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & NAMES.keys()
        elif isinstance(node, ast.ImportFrom) and node.module:
            within = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES.keys()
            found |= within or ({node.module} & NAMES.keys())
    return found


NAMES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in MODULES}


def test_no_module_is_imported_by_what_it_imports() -> None:
    imports = {name: modules_imported(path) for name, path in NAMES.items()}
    order = graphlib.TopologicalSorter(imports)
    try:
        order.prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


TRAINING = ["data", "runtime", "losses", "recipes"]


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.parent.parent == ROOT / "training"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_folder_of_training_imports_only_itself_and_those_before_it(path: Path) -> None:
    before = TRAINING[: TRAINING.index(path.parent.name) + 1]
    used = {name.split(".")[2] for name in modules_imported(path) if name.startswith("memptm.training.")}
    assert used <= set(before)
