"""Draw docs/assets/cognitive-graph.svg: what ``--method graph`` finds for one question over scripts/data/example.

Nothing is drawn by hand: the folder is indexed, the question asked with the packaged models, and the graph that comes with
the answer is saved as any other.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from memptm import QA, Memory
from memptm.reasoning.draw import save

EXAMPLE = Path(__file__).parent / "data" / "example"
QUESTION = (
    "Which company paid for the church tower in the town where the builder of the Cape Morrow Lighthouse was born?"
)


@click.command()
@click.option("--question", default=QUESTION)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/assets/cognitive-graph.svg"))
def main(question: str, out: Path) -> None:
    """Write OUT."""
    with TemporaryDirectory() as folder:
        memory = Memory.open(Path(folder) / "index", create=True)
        memory.add(EXAMPLE)
        answer = QA(memory, method="graph")(question)
    if answer.graph is None or answer.graph.answer is None:
        raise click.ClickException(f"Nothing answers: {answer.note}")
    out.parent.mkdir(parents=True, exist_ok=True)
    save(answer.graph, out)
    click.echo(f"{answer.text} ({answer.probability:.2f}): {out}, {out.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
