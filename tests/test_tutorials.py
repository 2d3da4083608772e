"""The tutorials run as they stand, and print what they say they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import tutorials

SLOW = {"training"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW)) for page in tutorials.pages()],
)
def test_a_tutorial_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "```console" in text
    assert tutorials.alike(tutorials.run(text, tmp_path)) == tutorials.alike(text)


def test_another_output_is_seen_and_written(tmp_path: Path) -> None:
    page = (
        '```text title="notes/a.md"\nThe mill has seven doors.\n```\n\n'
        "```python\nfrom pathlib import Path\n\nprint(len(Path('notes/a.md').read_text()), 0.25)\n```\n\n"
        "```text\n27 0.5\n```\n\n```console\n$ memptm --version\n```\n"
    )
    written = tutorials.run(page, tmp_path)
    assert "```text\n26 0.25\n```" in written
    assert "$ memptm --version\nmemptm" in written
    assert tutorials.alike(written) != tutorials.alike(page)
    assert tutorials.alike(tutorials.run(written, tmp_path)) == tutorials.alike(written)


def test_a_command_that_fails_stops_the_page(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="gone"):
        tutorials.run("```console\n$ memptm info --index gone\n```\n", tmp_path)
