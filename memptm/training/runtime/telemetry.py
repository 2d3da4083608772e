"""What a retriever in training does, step by step: on disk as JSONL, in the end as a table and a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from memptm.training.runtime.checkpoint import Log
from memptm.types import Json

WINDOW = 50  # steps whose mean is looked at for a collapse
SAME_DOCUMENTS = 0.1  # distinct documents a retrieved place, below which all questions get the same few
FEW = 0.3  # of what a document could say of its question, below which few distinct documents mean a collapse
NOTHING = 0.05  # the same, below which all questions get nearly the same p(z|x); trained encoders begin above 0.5
INFORMED = 10  # steps over which that is looked at: it shows at once, whatever the sizes of batch and index
UNLIKELY = math.log(2)  # nats of loss: the right answer has less than half of the probability
SURE = 0.02  # entropy of p(z|x) as a share of its most, below which one document takes all
NO_LOSS = 10  # steps without any
ROWS = 12  # of the table
COLUMNS = {
    "loss": "loss",
    "utility": "utility",
    "entropy": "entropy of p(z|x)",
    "distinct": "distinct documents",
    "information": "what documents say of their questions",
    "null": "p(null|x)",
    "answered": "answer found",
    "drift": "drift",
    "negatives": "negatives a question",
    "stale": "steps since the keys",
    "cosine": "cosine to the target",
    "alone": "the same without memory",
    "asked": "loss on questions",
    "follow": "cosine of follow-ups",
    "apart": "relevant − other blocks",
    "changed": "labels changed a question",
    "usage": "slots used",
    "kl": "their use to all alike, KL",
}


def retrieval_numbers(
    log_prior: Tensor, documents: Tensor, queries: Tensor, frozen: Tensor, *, keys: Tensor, temperature: float
) -> Json:
    """What a step's retrieval was like.

    Args:
        log_prior: (n, k).
        documents: (n, k) which ones, negative where none is.
        queries, frozen: (n, dimension) unit vectors, now and before training.
        keys: (passages, dimension) unit vectors of the index.
        temperature: p(z|x) is the softmax of cosines divided by it.
    Returns:
        {"entropy" of p(z|x) in nats, "distinct" documents as a share of the most there could be, "drift": 1 − mean
        cosine to the frozen retriever} and, where that can be said, "information".
    """
    with torch.no_grad():
        entropy = -(log_prior.exp() * log_prior).nan_to_num(0.0).sum(dim=1).mean()
        found = torch.unique(documents[documents >= 0])
        share = information(queries, keys[found], temperature=temperature)
        return {
            "entropy": float(entropy),
            "distinct": _distinct(documents, len(keys)),
            "drift": float(1 - (queries * frozen).sum(dim=1).mean()),
            **({} if share is None else {"information": share}),
        }


def information(queries: Tensor, keys: Tensor, *, temperature: float) -> float | None:
    """The mutual information of question and document over its most, from 0 to 1; None for one question or document.

    0: every question has the same p(z|x), so retrieval has collapsed, be the index of ten passages or of millions. Over the
    documents found for any of the questions, so that ties between near documents do not matter.

    Args:
        queries: (n, dimension) unit vectors.
        keys: (documents, dimension) unit vectors.
        temperature: p(z|x) is the softmax of cosines divided by it.
    """
    most = math.log(max(1, min(len(queries), len(keys))))
    if not most:
        return None
    log_p = (queries @ keys.t() / temperature).log_softmax(dim=1)
    log_mean = log_p.logsumexp(dim=0) - math.log(len(queries))
    return max(0.0, float((log_p.exp() * (log_p - log_mean)).sum(dim=1).mean())) / most


def _distinct(documents: Tensor, passages: int) -> float:
    there = documents[documents >= 0].tolist()
    return len(set(there)) / max(1, min(len(there), passages))


class Telemetry:
    """The numbers of every step; those of a run that goes on are read back.

    Args:
        folder: log.jsonl is there.
        documents: k, documents retrieved a question.
        done: steps that count; later ones in the log are of a run that was killed after its last checkpoint.
    """

    def __init__(self, folder: Path, *, documents: int, done: int = 0) -> None:
        self.folder, self.documents = folder, documents
        self._log = Log(folder / "log.jsonl")
        self.records: list[Json] = self._log.keep(done)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write one step."""
        record = {"step": step, **numbers}
        self.records.append(record)
        self._log.write(record)

    def mean(self, name: str, last: int = WINDOW) -> float:
        """Of the last steps that have the number; NaN if none has.

        Args:
            name: of the number.
            last: how many steps are looked at.
        """
        return _mean(self.records[-last:], name)

    def collapse(self) -> str:
        """What looks wrong over the last steps, a collapse of retrieval or nothing to learn; "" if nothing does."""
        last = self.records[-NO_LOSS:]
        if len(last) == NO_LOSS and all(record["loss"] == 0 for record in last):
            return (
                f"The loss was 0 for {NO_LOSS} steps: nothing competes with the right passages, so nothing is learned. "
                "Build the index from more documents."
            )
        if len(self.records) >= INFORMED and self.mean("information", INFORMED) < NOTHING:
            return (
                f"Retrieval has collapsed: for {INFORMED} steps p(z|x) was nearly the same for all questions. "
                "Lower the learning rate, or start from another encoder."
            )
        if len(self.records) < WINDOW:
            return ""
        if self.mean("distinct") < SAME_DOCUMENTS and not self.mean("information") >= FEW:
            return (
                f"Retrieval has collapsed: {100 * self.mean('distinct'):.0f} % distinct documents over {WINDOW} steps; "
                "all questions get the same few. Lower the learning rate, or (train rag) add --loss contrast."
            )
        sure = self.documents > 1 and self.mean("entropy") < SURE * math.log(self.documents)
        if sure and self._wrong():
            return (
                f"Retrieval has collapsed: one document takes all of p(z|x) (entropy {self.mean('entropy'):.3f} nats over "
                f"{WINDOW} steps), so the others teach nothing. Lower the learning rate, or read more passages (-k)."
            )
        return ""

    def _wrong(self) -> bool:
        """Whether what is read answers badly: no better than nothing read or, where that is not known, by the loss."""
        utility = self.mean("utility")
        return self.mean("loss") > UNLIKELY if math.isnan(utility) else utility <= 0

    def table(self) -> list[Json]:
        """Means over equal parts of the run, each under its last step."""
        count = max(1, math.ceil(len(self.records) / ROWS))
        rows = []
        for start in range(0, len(self.records), count):
            part = self.records[start : start + count]
            means = {name: _mean(part, name) for name in COLUMNS if any(name in record for record in part)}
            rows.append({"step": part[-1]["step"], **means})
        return rows

    def plot(self) -> Path | None:
        """Draw telemetry.png; None where matplotlib (memptm[plots]) is not installed."""
        try:
            import matplotlib
        except ImportError:
            return None
        matplotlib.use("Agg")
        from matplotlib import pyplot

        names = [name for name in COLUMNS if any(name in record for record in self.records)]
        figure, axes = pyplot.subplots(len(names), 1, sharex=True, figsize=(7, 1.7 * len(names)), squeeze=False)
        for axis, name in zip(axes[:, 0], names, strict=True):
            points = [(record["step"], record[name]) for record in self.records if name in record]
            steps, values = zip(*points, strict=True)
            axis.plot(steps, values, color="#b8c4d6", linewidth=0.8)
            axis.plot(steps, _smooth(values), color="#1f4e99", linewidth=1.6)
            axis.set_ylabel(COLUMNS[name], fontsize=8)
        axes[-1, 0].set_xlabel("step")
        figure.tight_layout()
        path = self.folder / "telemetry.png"
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        return path


def _mean(records: Sequence[Json], name: str) -> float:
    values = [record[name] for record in records if name in record]
    return round(sum(values) / len(values), 4) if values else math.nan


def _smooth(values: Sequence[float]) -> list[float]:
    smooth, at = [], values[0]
    for value in values:
        at = 0.9 * at + 0.1 * value
        smooth.append(at)
    return smooth
