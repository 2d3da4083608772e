"""What every test can rely on: no network, and a small folder of documents with a memory built from it."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import contextlib
import io
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job; tests that press Ctrl-C need it to arrive
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine fails no test. ``pytest --hypothesis-profile=thorough`` tries more, as .ci/run does.
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("quick")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data outside the repository; a test that asks for it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data, which is not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def run_memptm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a process would, within this one: it has loaded the libraries already."""

    def run(*arguments: object, input: str = "", cwd: Path = Path()) -> subprocess.CompletedProcess[str]:
        from memptm.cli import main

        stdin = io.TextIOWrapper(io.BytesIO(input.encode()), encoding="utf-8")
        out, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "200"}),
            mock.patch("sys.stdin", stdin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
            contextlib.chdir(cwd),
            warnings.catch_warnings(),
            pytest.raises(SystemExit) as exited,
        ):
            main([str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, int(exited.value.code or 0), out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def spawn_memptm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a fresh process, where that is the point; ``env`` adds to its environment."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200", **(env or {})}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [sys.executable, "-m", "memptm", *map(str, arguments)],
            env=environment,
            **{"capture_output": True, "text": True, "timeout": 300, **options},
        )

    return run


LIGHTHOUSE = (
    "The lighthouse at Cape Morrow was built in 1871 by the engineer Ada Trent. It stands 43 metres tall.\n\n"
    "In 1934 its oil lamp was replaced by an electric one. The keeper's cottage is a museum today.\n"
)
GLACIER = "# Solheim glacier\n\n## Retreat\n\nThe Solheim glacier lost 180 metres between 1990 and 2010.\n"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a Markdown file, records, and two files that cannot be taken."""
    path = tmp_path_factory.mktemp("documents")
    (path / "lighthouse.txt").write_text(LIGHTHOUSE, encoding="utf-8")
    (path / "glacier.md").write_text(GLACIER, encoding="utf-8")
    (path / "records.jsonl").write_text(
        '{"id": "r1", "title": "Orchid", "text": "The ghost orchid flowers in July."}\n\n'
        '{"id": "r2", "title": "Fern", "text": "The royal fern grows in bogs.", "metadata": {"kind": "fern"}}\n',
        encoding="utf-8",
    )
    (path / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (path / "broken.pdf").write_bytes(b"%PDF-1.7 not really")
    return path


@pytest.fixture(scope="session")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of ``folder``, shared by all tests: read it, do not write to it."""
    from memptm import Memory

    path = tmp_path_factory.mktemp("index") / "index"
    Memory.open(path, create=True).add([str(folder)])
    return path
