"""The documentation says what is there: help pages, links, names, tables and examples are checked."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import memptm
from memptm.cli import main as command_line

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "scripts" / "README.md"])


def test_the_help_pages_are_current() -> None:
    now = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert now == import_module("scripts.help_pages").page(), "run `make docs`"


@pytest.mark.parametrize(
    "name", sorted(set(command_line.commands) | {name for name in memptm.__all__ if name != "__version__"})
)
def test_every_command_and_public_name_is_documented(name: str) -> None:
    text = "\n".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md") if page.name != "commands.md"
    )
    assert re.search(rf"`(?:memptm )?{name}\b", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_path_and_name_of_code_that_a_page_names_is_there() -> None:
    cards = (ROOT / "memptm" / "weights").glob("*/README.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*PAGES, *cards])
    named = set(re.findall(r"`((?:memptm|scripts|tests)[./][\w/.]+)`", text)) - {"scripts/results/NAME.jsonl"}
    paths = {name for name in named if "/" in name}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert {name for name in named - paths if not name.endswith(".json") and not _is_there(name)} == set()


def _is_there(name: str) -> bool:
    """Whether a module, or what stands in one, has this dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_every_page_is_reached_from_the_first() -> None:
    reached, ahead = set[Path](), {ROOT / "docs" / "README.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#:\s]+\.md)", page.read_text(encoding="utf-8"))
        ahead |= {(page.parent / link).resolve() for link in links} - reached
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if page not in reached} == set()


def test_every_field_case_is_listed_once_and_its_test_is_there() -> None:
    rows = re.findall(
        r"^\| ((?:F\d+(?:, )?)+) \| .*$", (ROOT / "docs" / "field-cases.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    cases = [case for row in rows for case in row.split(", ")]
    assert len(cases) == len(set(cases)) == 71
    named = re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs" / "field-cases.md").read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_tables_are_those_of_the_logs() -> None:
    check = import_module("scripts.check")
    assert {page.name: check.stale(page.read_text(encoding="utf-8")) for page in check.pages()} == {
        page.name: [] for page in check.pages()
    }


def test_every_log_has_a_table_on_a_page_of_results() -> None:
    check = import_module("scripts.check")
    shown = {name for page in check.pages() for name in check.tables(page.read_text(encoding="utf-8"))}
    assert {log.stem for log in (ROOT / "scripts" / "results").glob("*.jsonl")} - shown == set()


def test_the_index_of_scripts_lists_every_script_and_every_log() -> None:
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")
    scripts = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in (ROOT / "scripts").rglob("*.py")}
    assert set(re.findall(r"^\| `(scripts[\w.]+)` \|", text, re.MULTILINE)) == scripts
    assert {log.stem for log in (ROOT / "scripts" / "results").glob("*.jsonl")} <= set(re.findall(r"`(\w+)`", text))


def test_a_changed_log_makes_its_table_stale_and_writing_mends_it(tmp_path: Path) -> None:
    runs, check = import_module("scripts.runs"), import_module("scripts.check")
    log = runs.Runs(tmp_path / "reading.jsonl")
    text = "<!-- table:reading columns=method,EM -->\nNot measured yet.\n<!-- /table -->\n"
    assert check.stale(text, tmp_path) == []
    settings = {"method": "reader", "data": ("a", "b")}
    log.append(settings, 0, {"EM": 80.0, "ms": 12})
    log.append(settings, 1, error="killed")
    assert check.stale(text, tmp_path) == ["reading"]
    written = check.regenerated(text, tmp_path)
    assert "| method | EM |\n| --- | ---: |\n| reader | 80.0 |\n" in written
    assert check.stale(written, tmp_path) == []
    log.append({"method": "judge, gated"}, 0, {"F1, words": 70.0})
    parted = text.replace("method,EM", "method; F1, words")
    assert "| judge, gated | 70.0 |" in check.regenerated(parted, tmp_path)
    again = runs.Runs(tmp_path / "reading.jsonl")
    assert again.done(settings, 0)
    assert not again.done(settings, 1)
    again.append(settings, 1, {"EM": 82.0, "ms": 14})
    assert "80" not in again.table(["method", "EM"])
    assert "81.0 ± 1.41 (2)" in again.table(["method", "EM"])
    with pytest.raises(ValueError, match="no column 'F2'"):
        again.table(["F2"])


def test_a_headline_is_one_setting_of_one_log(tmp_path: Path) -> None:
    log = import_module("scripts.runs").Runs(tmp_path / "reading.jsonl")
    for n, method in enumerate(("reader", "generate")):
        log.append({"method": method, "window": 256}, 0, {"EM": 10.0 * n})
        log.append({"method": method, "window": 256}, 0, {"EM": 20.0 + n})
    assert log.cell("EM", {"method": "generate"}) == "21.0"  # a run repeated counts as it last was
    for metric, settings in (("EM", {"window": 256}), ("EM", {"method": "rag"}), ("F1", {"method": "reader"})):
        with pytest.raises(ValueError, match="settings have"):
            log.cell(metric, settings)


def test_the_readme_is_short_and_says_index_at_once() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    assert "index" in text.split("\n\n")[1].split(",")[0]
    assert len(import_module("scripts.headline").ROWS) <= 12


def test_pictures_are_small_and_ask_no_other_host() -> None:
    for picture in (ROOT / "docs" / "assets").iterdir():
        assert picture.stat().st_size < 200_000
        if picture.suffix == ".svg":
            assert not re.findall(r"(?:url\(|src=|href=)[\"']?https?:", picture.read_text(encoding="utf-8"))


def test_the_site_has_every_page_once_and_none_that_is_not_there() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"\S+\.md$", site[site.index("\nnav:") :], re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def test_docstrings_of_sections_close_together_are_read_apart() -> None:
    text = (
        "Keep it.\n\nArgs:\n    start, end: characters,\n        from 0.\n    k: how many.\nRaises:\n"
        "    InputError: it is empty, or\n        too long. IndexLocked: another writes.\n    OSError: no room.\nSource: a paper."
    )
    assert import_module("scripts.docstrings").spread(text) == (
        "Keep it.\n\nArgs:\n    start: characters,\n        from 0.\n    end: characters,\n        from 0.\n    k: how many.\n\n"
        "Raises:\n    InputError: it is empty, or too long.\n    IndexLocked: another writes.\n    OSError: no room.\nSource: a paper."
    )


def test_the_api_reference_names_every_public_name() -> None:
    named = re.findall(r"^::: memptm\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(set(memptm.__all__) - {"__version__"})


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_examples_run(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "docs").mkdir()
    for page in (ROOT / "docs" / "systems").glob("*.md"):
        (tmp_path / "docs" / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
