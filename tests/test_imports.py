"""What importing costs: the heavy libraries come when they are needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import memptm

HEAVY = ("torch", "faiss", "lancedb", "pyarrow", "transformers", "sentence_transformers", "peft", "numpy")


def heavy_after(code: str) -> list[str]:
    """Which heavy libraries a fresh process holds after ``code``."""
    tail = f"\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    ).stdout.split()


def test_importing_memptm_loads_no_heavy_library() -> None:
    assert heavy_after("import memptm") == []


def test_importing_the_command_line_and_the_pipeline_loads_no_heavy_library() -> None:
    assert heavy_after("import memptm.cli, memptm.pipeline, memptm.documents") == []


def test_help_is_there_at_once_and_loads_no_heavy_library() -> None:
    code = (
        "import contextlib, io\n"
        "from memptm.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])"
    )
    assert heavy_after(code) == []
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "memptm", "--help"], capture_output=True, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5  # of the processor; 0.1 on an idle machine


@pytest.mark.parametrize("name", memptm.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(memptm, name) is not None
    assert name in dir(memptm)


@pytest.mark.parametrize(
    ("given", "left"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_do_not_spin_for_long_unless_the_user_says_so(given: dict[str, str], left: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = "import memptm, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == left


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Mammoth'"):
        _ = memptm.Mammoth  # type: ignore[attr-defined]


def test_saying_what_an_encoder_is_loads_no_model() -> None:
    loading = "from memptm.encoders.load import load_encoder\nfor name in {names}:\n    load_encoder(name).fingerprint"
    names = ["memptm-recurrent", "sentence-transformers/all-MiniLM-L6-v2"]
    assert set(heavy_after(loading.format(names=names))) <= {"numpy"}
