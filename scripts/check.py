"""Compare the README's tables with the logs they come from.

    python -m scripts.check            exit code 1 if a table differs from scripts/results/NAME.jsonl
    python -m scripts.check --write    write the tables anew

In the README a table stands between `<!-- table:NAME -->` and `<!-- /table -->`. The mark can choose columns:
`<!-- table:NAME columns=method,EM,F1 -->`. NAME is a log in scripts/results.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from scripts.runs import RESULTS, Runs

README = Path(__file__).resolve().parents[1] / "README.md"
MARK = re.compile(
    r"(<!-- table:(?P<name>[\w-]+)(?: columns=(?P<columns>[^>]+?))? -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL
)


def regenerated(text: str, results: Path = RESULTS) -> str:
    """``text`` with every table made anew from its log."""

    def table(found: re.Match[str]) -> str:
        columns = [name.strip() for name in (found["columns"] or "").split(",") if name.strip()]
        return f"{found[1]}{Runs(results / (found['name'] + '.jsonl')).table(columns)}\n{found[5]}"

    return MARK.sub(table, text)


def stale(text: str, results: Path = RESULTS) -> list[str]:
    """Names of the tables that differ from their logs."""
    now, then = MARK.finditer(regenerated(text, results)), MARK.finditer(text)
    return [old["name"] for old, new in zip(then, now, strict=True) if old["body"] != new["body"]]


@click.command()
@click.option("--write", is_flag=True, help="Write the tables anew.")
def main(write: bool) -> None:
    """Compare the README's tables with scripts/results."""
    text = README.read_text(encoding="utf-8")
    if write:
        README.write_text(regenerated(text), encoding="utf-8")
        return
    names = stale(text)
    click.echo(
        f"differ from scripts/results: {', '.join(names)}" if names else "The README's tables are those of the logs."
    )
    sys.exit(bool(names))


if __name__ == "__main__":
    main()
