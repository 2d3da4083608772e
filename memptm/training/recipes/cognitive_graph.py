"""Train a cognitive graph: `memptm train graph`. System 1 first, from the shipped reader; then both together.

System 1 learns on gold graphs (SEEDS.md §2): hops, answers and supporting sentences of the gold pages, with the clues that
lead to them, and of other pages that they hold none. Then each question's graph is expanded over its own paragraphs with what System
1 has learned, and System 2 learns to tell the right answer among those found; its gradient reaches System 1 through the
pages' meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memptm.encoders.base import Encoder
from memptm.encoders.load import load_encoder
from memptm.errors import InputError
from memptm.generation.reader import SHIPPED
from memptm.progress import Progress, silent
from memptm.reasoning.system1 import PageInput
from memptm.reasoning.system2 import GraphNetwork, save_network
from memptm.reasoning.trained_system1 import Pointers
from memptm.training.data.gold_graphs import GoldGraph, read_gold
from memptm.training.losses.both_systems import BothSystemsTask
from memptm.training.losses.pointers import PointerTask
from memptm.training.runtime.arithmetic import pin_precision
from memptm.training.runtime.loop import finished, fit, shuffled
from memptm.training.runtime.run import Run, digest_of, plain, reader_digest
from memptm.types import Json
from memptm.working.state_files import fingerprint

NAMED = 20  # of the rows that were skipped, in the result


@dataclass(frozen=True, kw_only=True)
class GraphRecipe:
    """How to train.

    Attributes:
        epochs: of System 1 alone.
        both: of the two together; 0: System 2 is not trained.
        steps: at most, of each stage; None: all.
        learning_rate: of the reader's weights, at its highest.
        head_rate: the learning rate of what is new, System 2 too.
        batch: questions a step.
        negatives: other paragraphs a question and step.
        clues: how often a page is read with the clues that lead to it; at use it may be found without.
        dropout: share of the activations that are zeroed, from 0 to 1.
        nodes: most pages read for a question.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    epochs: int = 3
    both: int = 1
    steps: int | None = None
    learning_rate: float = 5e-5
    head_rate: float = 1e-3
    batch: int = 6
    negatives: int = 2
    clues: float = 0.7
    dropout: float = 0.1
    nodes: int = 6
    warm_up: float = 0.06
    save_every: int = 50
    seed: int = 0


def train_graph(
    data: Sequence[Path],
    out: Path,
    *,
    start: str | Path | None = None,
    held_out: Sequence[Path] = (),
    recipe: GraphRecipe | None = None,
    encoder: Encoder | None = None,
    progress: Progress = silent,
) -> Json:
    """Train both systems on HotpotQA-format rows and save them in ``out``.

    Args:
        data: files of HotpotQA-format rows.
        out: a folder for the weights, log.jsonl and a checkpoint; a second call goes on from it.
        start: a reader's folder to start System 1 from; the shipped one if None.
        held_out: rows to measure on.
        recipe: how; its defaults if None.
        encoder: finds where a search begins; the default encoder if None.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "questions", "with_path", "skipped", "skipped_rows", "seconds", "loss",
        "telemetry", "note" where no step was left, "held_out"?}.
    Raises:
        InputError: no usable rows, a malformed one, or another run in ``out``.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe = recipe or GraphRecipe()
    gold = read_gold(data)
    if not gold.graphs:
        first = f" ({gold.skipped[0]})" if gold.skipped else ""
        raise InputError(
            f"None of the rows has its supporting facts in its context{first}. A graph is learned from those."
        )
    start_reader = Path(start).expanduser() if start else SHIPPED
    run = Run("graph", out)
    data_digest, settings = {"data": digest_of(gold.graphs)}, plain(asdict(recipe))
    run1 = run.phase("system1", data=data_digest, start={"reader": reader_digest(start_reader)}, settings=settings)
    run2 = run.phase(
        "both",
        data=data_digest,
        start={},
        settings={**settings, "encoder": encoder.fingerprint if encoder else ""},
        after=("system1",),
    )
    run.claim("system1", "both", "config.json", "system1.safetensors", "system2.safetensors")
    run1.check()
    run2.check()
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    system1 = PointerTask(
        gold.graphs,
        start_reader,
        negatives=recipe.negatives,
        clues=recipe.clues,
        dropout=recipe.dropout,
        learning_rate=recipe.learning_rate,
        head_rate=recipe.head_rate,
        seed=recipe.seed,
    )
    common: dict[str, Any] = {"warm_up": recipe.warm_up, "save_every": recipe.save_every, "remedy": "Lower --batch."}
    plan = shuffled(len(gold.graphs), batch=recipe.batch, epochs=recipe.epochs, steps=recipe.steps, seed=recipe.seed)
    parts = {"system 1": fit(system1, plan, run1, stage="system 1", progress=progress, **common)}
    network = None
    if recipe.both:
        run2 = run2.begun_with(system1=fingerprint(system1.net))
        torch.manual_seed(recipe.seed)
        both = BothSystemsTask(
            system1,
            GraphNetwork(system1.width),
            encoder or load_encoder(None),
            pages=recipe.nodes,
            comes_again=recipe.both > 1,
        )
        plan = shuffled(
            len(gold.graphs), batch=recipe.batch, epochs=recipe.both, steps=recipe.steps, seed=recipe.seed + 1
        )
        torch.manual_seed(recipe.seed + 1)  # whatever was loaded or resumed until here
        resume = run2.same_start()  # not where System 1 was given more steps
        parts["both"] = fit(both, plan, run2, stage="both systems", resume=resume, progress=progress, **common)
        network = both.network
    system1.net.save(out)
    if network is not None:
        save_network(network, out)
    fitted = list(parts.values())
    result = {
        "steps": sum(part.steps for part in fitted), "new_steps": sum(part.new_steps for part in fitted),
        "questions": len(gold.graphs), "with_path": sum(graph.path for graph in gold.graphs),
        "skipped": len(gold.skipped), "skipped_rows": list(gold.skipped[:NAMED]),
        "seconds": round(sum(part.seconds for part in fitted), 1), "loss": fitted[-1].telemetry.mean("loss"),
        "telemetry": [{"stage": name, **row} for name, part in parts.items() for row in part.telemetry.table()],
        **finished(run, *fitted),
    }  # fmt: skip
    if held_out:
        result["held_out"] = measure(Pointers.load(out), read_gold(held_out).graphs)
    return result


def measure(system1: Pointers, graphs: Sequence[GoldGraph]) -> Json:
    """System 1 on gold pages with their clues, and on the others: shares from 0 to 1.

    Args:
        system1: reads the pages.
        graphs: what is right on each.
    Returns:
        {"n", "hop": of the pages that lead on, those one of whose hops touches the right name; "quiet": of the others,
        those without any hop; "answer": of the pages that hold it, those whose best span is it; "support": F1 of
        sentences}.
    """
    hop, quiet, answer = [], [], []
    right = given = facts = 0
    for graph in graphs:
        inputs = [PageInput(page.passage, page.clues) for page in graph.pages]
        for page, reading in zip(graph.pages, system1.read_pages(graph.question, inputs), strict=True):
            if page.hops:
                touched = [h for h in reading.hops for s, e in page.hops if h.start < e and h.end > s]
                hop.append(bool(touched))
            else:
                quiet.append(not reading.hops)
            if page.answers:
                best = max(reading.spans, key=lambda span: span.log_odds, default=None)
                answer.append(best is not None and (best.start, best.end) in page.answers)
            supported = [p >= 0.5 for p in reading.support]
            right += sum(one and other for one, other in zip(supported, page.support, strict=True))
            given, facts = given + sum(supported), facts + sum(page.support)
    return {
        "n": len(graphs), "hop": _share(hop), "quiet": _share(quiet), "answer": _share(answer),
        "support": round(2 * right / max(given + facts, 1), 4),
    }  # fmt: skip


def _share(values: Sequence[bool]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
