"""Compare the tables of README.md and docs/results with the logs they come from.

    python -m scripts.check            exit code 1 if a table differs from scripts/results/NAME.jsonl
    python -m scripts.check --write    write the tables anew

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`, where NAME is a log in scripts/results. The mark can
choose columns: `<!-- table:NAME columns=method, EM, F1 -->`; semicolons part them where a name holds a comma. The table
"headline" is that of scripts/headline.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from scripts import headline
from scripts.runs import RESULTS, Runs

HEADLINE = "headline"  # the table that scripts/headline.py makes from several logs
ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(
    r"(<!-- table:(?P<name>[\w-]+)(?: columns=(?P<columns>[^>]+?))? -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL
)


def pages() -> list[Path]:
    """The pages that hold measurements: the README, and all of docs/results."""
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "results").rglob("*.md"))]


def tables(text: str) -> list[str]:
    """Names of the logs whose tables stand in ``text``."""
    return [found["name"] for found in MARK.finditer(text)]


def regenerated(text: str, results: Path = RESULTS) -> str:
    """``text`` with every table made anew from its log."""

    def table(found: re.Match[str]) -> str:
        if found["name"] == HEADLINE:
            return f"{found[1]}{headline.table(results)}\n{found[5]}"
        chosen = found["columns"] or ""
        columns = [name.strip() for name in chosen.split(";" if ";" in chosen else ",") if name.strip()]
        return f"{found[1]}{Runs(results / (found['name'] + '.jsonl')).table(columns)}\n{found[5]}"

    return MARK.sub(table, text)


def stale(text: str, results: Path = RESULTS) -> list[str]:
    """Names of the tables that differ from their logs."""
    now, then = MARK.finditer(regenerated(text, results)), MARK.finditer(text)
    return [old["name"] for old, new in zip(then, now, strict=True) if old["body"] != new["body"]]


@click.command()
@click.option("--write", is_flag=True, help="Write the tables anew.")
def main(write: bool) -> None:
    """Compare the tables of README.md and docs/results with the logs in scripts/results."""
    differ = False
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if write:
            page.write_text(regenerated(text), encoding="utf-8")
            continue
        names = stale(text)
        differ |= bool(names)
        if names:
            click.echo(f"{page.relative_to(ROOT)}: differs from scripts/results: {', '.join(names)}")
    if not (write or differ):
        click.echo("The tables are those of the logs.")
    sys.exit(differ)


if __name__ == "__main__":
    main()
