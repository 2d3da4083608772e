"""Train an encoder for an index, a few megabytes beside the one it has: `memptm train encoder`.

In two phases, each a run of its own that goes on where it stopped:

    adapt    low-rank updates of the encoder: questions find the passages known to answer them (pairs.py)
    memory   the encoder is left as it is, and a memory of the passages before learns (passage_memory.py)

Adapting is not remembering: what the first phase gives is had without the second, and what memory is worth is what the second
adds. The index given is left as it is; the result is a new encoder and a new index keyed by it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from memptm.encoders.adapted import ADAPTER, MemorySizes, rebase, save_adapter, save_memory
from memptm.encoders.base import Encoder, Keys, embedding_text
from memptm.encoders.load import load_encoder
from memptm.encoders.low_rank import low_rank
from memptm.encoders.recurrent_bert import RecurrentBert
from memptm.encoders.sentence import BertEncoder
from memptm.encoders.two_sided import memory_left, shared_encoder
from memptm.errors import InputError
from memptm.memory.encode import Texts
from memptm.memory.memory import Memory
from memptm.progress import Progress, silent
from memptm.training.data.examples import Example, Turns, answered_examples, read_follow_ups
from memptm.training.data.pairs import question_pairs
from memptm.training.data.targets import Target, find_targets
from memptm.training.losses.pairs import TELEMETRY_PASSAGES, PairTask
from memptm.training.losses.passage_memory import FollowUp, PassageMemoryTask, by_tokens, passage_spans
from memptm.training.runtime.arithmetic import pin_precision
from memptm.training.runtime.evaluate import compare, rows_with_answers
from memptm.training.runtime.loop import Fitted, finished, fit, shuffled
from memptm.training.runtime.refresh import Versions
from memptm.training.runtime.run import Run, digest_of, index_digest
from memptm.training.runtime.trainable_encoder import TrainableEncoder, load_trained
from memptm.types import Json

Phase = Literal["adapt", "memory"]
PHASES: tuple[Phase, ...] = ("adapt", "memory")


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """How to train.

    Attributes:
        phases: which are gone through, in the order of PHASES.
        steps: of phase adapt, at most; None: once through the questions.
        memory_steps: of phase memory, at most.
        rank: of the encoder's updates.
        pairs: questions of a step of phase adapt.
        hard: hard negatives a question, beside the other questions' passages.
        memory: its sizes.
        before: passages written before one for its target.
        span: passages that are read in a row.
        tokens: of a step.
        labels: questions teach the memory, too, where there are any.
        temperature: p(z|x) is the softmax of cosines divided by it.
        learning_rate: of the low-rank updates, at its highest.
        memory_learning_rate: of the memory, at its highest.
        dropout: share of the activations that are zeroed, from 0 to 1.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    phases: tuple[Phase, ...] = PHASES
    steps: int | None = None
    memory_steps: int = 300
    rank: int = 16
    pairs: int = 16
    hard: int = 3
    memory: MemorySizes = MemorySizes()  # noqa: RUF009 (frozen)
    before: int = 2
    span: int = 5
    tokens: int = 2400
    labels: bool = True
    temperature: float = 0.05
    learning_rate: float = 5e-4
    memory_learning_rate: float = 2e-3
    dropout: float = 0.1
    warm_up: float = 0.1
    save_every: int = 50
    seed: int = 0


RECENT = 4  # turns before a follow-up question that are read in training
USED: dict[Phase, frozenset[str]] = {  # what of a recipe a phase depends on
    "adapt": frozenset({"rank", "pairs", "hard", "temperature", "learning_rate", "dropout", "warm_up", "seed"}),
    "memory": frozenset(
        {"memory", "before", "span", "tokens", "labels", "temperature", "memory_learning_rate", "warm_up", "seed"}
    ),
}


def train_encoder(
    data: Sequence[Path],
    memory: Memory,
    out: Path,
    *,
    recipe: EncoderRecipe | None = None,
    follow_ups: Sequence[Path] = (),
    held_out: Sequence[Path] = (),
    progress: Progress = silent,
) -> Json:
    """Train on questions and on the documents of ``memory``; without questions its memory learns from the texts alone.

    Args:
        data: JSONL of {question, answers, context?}; a context that is in the index names the right passage.
        memory: left as it is; of its encoder nothing is changed either.
        out: a folder a phase (log.jsonl, telemetry.png, a checkpoint), and encoder and index. A second call goes on.
        recipe: how; its defaults if None.
        follow_ups: JSONL of {history: [text], question, rewrite}: the memory learns to ask what the rewrite asks.
        held_out: rows of data's kind; recall on them before and after is in the result.
        progress: called after every step.
    Returns:
        {"encoder", "index": folders, "phases": {name: {"steps", "new_steps" of this call, "seconds", "loss",
        "telemetry"}}, "seconds"}; "note" where the memory of the index's encoder is lost or no step was left; and,
        with ``held_out``, {"n", "recall", "frozen"}.
    Raises:
        InputError: no usable rows, a malformed one, an encoder that cannot be trained, no document of two passages,
            another run in ``out``.
        MemptmError: the loss is no number.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe, began = recipe or EncoderRecipe(), time.monotonic()
    tested = rows_with_answers(held_out)
    base = shared_encoder(memory.encoder)
    examples = answered_examples(data) if data else []
    phases = [phase for phase in PHASES if phase in recipe.phases and (examples or phase != "adapt")]
    if not phases:
        raise InputError("Adapting needs questions. Give DATA.jsonl, or choose phase memory.")
    train = _Training(memory, base, out, recipe, examples, read_follow_ups(follow_ups), progress)
    train.begin(phases)
    fitted = {phase: train.adapt() if phase == "adapt" else train.remember() for phase in phases}
    encoder = train.publish()
    made = train.run.publish_index(memory, encoder, phases=phases, progress=progress)
    reports = {phase: {**one.numbers(), "telemetry": one.telemetry.table()} for phase, one in fitted.items()}
    result: Json = {"encoder": str(out / "encoder"), "index": str(made.path), "phases": reports}
    result["seconds"] = round(time.monotonic() - began, 1)
    result |= finished(train.run, *fitted.values())
    if "memory" not in phases and (note := memory_left(memory.encoder)):
        result["note"] = note
    if held_out:
        passages, first = memory.keys()
        result |= compare(tested, passages, before=(base, first), after=(encoder, made.keys()[1]))
    return result


class _Training:
    """The encoder as the phases so far made it."""

    def __init__(
        self,
        memory: Memory,
        base: BertEncoder,
        out: Path,
        recipe: EncoderRecipe,
        examples: Sequence[Example],
        asked_after: Sequence[Turns],
        progress: Progress,
    ) -> None:
        self.base, self.recipe, self.progress = base, recipe, progress
        self.run, self.runs = Run("encoder", out), dict[Phase, Run]()
        self.examples, self.asked_after = examples, asked_after
        self.memory = memory
        self.passages, self.first = memory.keys()
        self._stand_alone = memory.encoder is base  # the index's keys; else they know what came before
        if len(self.passages) < 2:
            raise InputError(f"The index holds {len(self.passages)} passages; training needs more. Add documents.")
        self.texts = [embedding_text(passage) for passage in self.passages]
        self.encoder: BertEncoder = base
        self._remembers = False

    def begin(self, phases: Sequence[Phase]) -> None:
        """Take the folder, and see that what is in it is of this run."""
        questions = {"data": digest_of(self.examples)}
        data = {
            "adapt": questions,
            "memory": {**(questions if self.recipe.labels else {}), "follow-ups": digest_of(self.asked_after)},
        }
        self.run.claim(*PHASES, publishes=("encoder", "index"), phases=phases, beside=self.memory)
        for n, phase in enumerate(phases):
            self.runs[phase] = self.run.phase(
                phase,
                data={**data[phase], "index": index_digest(self.passages)},
                start={} if n else {"encoder": self.base.fingerprint},
                settings={name: one for name, one in asdict(self.recipe).items() if name in USED[phase]},
                after=phases[:n],
            )
            self.runs[phase].check()
        pin_precision(self.run.folder)

    def adapt(self) -> Fitted:
        """Low-rank updates learn from questions."""
        recipe, run = self.recipe, self.runs["adapt"]
        pairs = question_pairs(self.examples, self._targets, self.texts)
        torch.manual_seed(recipe.seed)
        trainable = TrainableEncoder(self.base, dropout=recipe.dropout, rank=recipe.rank).train()
        task = PairTask(
            trainable,
            pairs,
            self.texts,
            Versions(torch.from_numpy(self.first)),
            hard=recipe.hard,
            temperature=recipe.temperature,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
        )
        plan = shuffled(len(pairs), batch=recipe.pairs, epochs=1, steps=recipe.steps, seed=recipe.seed)
        fitted = fit(
            task,
            plan,
            run,
            warm_up=recipe.warm_up,
            save_every=recipe.save_every,
            documents=TELEMETRY_PASSAGES,
            remedy="Lower --pairs.",
            stage="adapt",
            progress=self.progress,
        )
        save_adapter(run.folder / "encoder", self.base, low_rank(trainable.bert))
        self.encoder = load_trained(run.folder / "encoder")
        fitted.telemetry.plot()
        return fitted

    def remember(self) -> Fitted:
        """The memory of passages learns."""
        recipe, run = self.recipe, self.runs["memory"].begun_with(encoder=self.encoder.fingerprint)
        rows = self.encoder.token_ids(self.texts)
        documents = Texts(self.passages, lambda: self.encoder).documents
        items = passage_spans(documents, length=recipe.span, seed=recipe.seed)
        if not items:
            raise InputError(
                "No document of the index has two passages; there is nothing to remember. Add longer ones."
            )
        plan = by_tokens(items, [len(row) for row in rows], tokens=recipe.tokens, seed=recipe.seed)
        plan = plan[: recipe.memory_steps]
        torch.manual_seed(recipe.seed)
        bert = self.encoder.bert()
        model = RecurrentBert(bert, recipe.memory, pooling=self.encoder.pooling)
        used = sorted({n for batch in plan for item in batch for n in range(items[item].start, items[item].end)})
        task = PassageMemoryTask(
            model,
            rows,
            torch.from_numpy(self._alone(used)),
            items,
            self._asked(used) if recipe.labels else {},
            self._follow_ups(),
            before=recipe.before,
            window=self.encoder.max_tokens,
            temperature=recipe.temperature,
            learning_rate=recipe.memory_learning_rate,
            seed=recipe.seed,
        )
        fitted = fit(
            task,
            plan,
            run,
            warm_up=recipe.warm_up,
            save_every=recipe.save_every,
            documents=TELEMETRY_PASSAGES,
            remedy="Lower --tokens.",
            stage="memory",
            resume=run.same_start(),  # not where the phase before was given more steps
            progress=self.progress,
        )
        save_memory(run.folder / "encoder", self.encoder, model.paths.state_dict(), recipe.memory)
        self._remembers = True
        fitted.telemetry.plot()
        return fitted

    def publish(self) -> Encoder:
        """OUT/encoder: what the phases made, of the encoder that the index had."""
        last = self.run.folder / ("memory" if self._remembers else "adapt") / "encoder"

        def write(folder: Path) -> None:
            for path in last.iterdir():
                shutil.copyfile(path, folder / path.name)
            if self._remembers and self.encoder is not self.base:
                shutil.copyfile(self.run.folder / "adapt" / "encoder" / ADAPTER, folder / ADAPTER)
                rebase(folder, self.base)

        return load_encoder(str(self.run.publish("encoder", write).resolve()))

    @cached_property
    def _targets(self) -> list[Target]:
        """What each example should find: both phases ask, and the questions are many."""
        if not self.examples:
            return []
        queries = self.base.encode_questions([example.question for example in self.examples])
        return find_targets(self.examples, self.passages, self.first, queries)

    def _alone(self, used: Sequence[int]) -> Keys:
        """(passages, dimension): keys of those ``used`` by themselves; the others' are zeros."""
        if self.encoder is self.base and self._stand_alone:
            return self.first
        keys = np.zeros_like(self.first)
        keys[list(used)] = self.encoder.encode_passages([self.texts[n] for n in used], progress=self.progress)
        return keys

    def _asked(self, used: Sequence[int]) -> dict[int, Tensor]:
        """For passages, the queries that they answer."""
        wanted = set(used)
        known = [
            (example.question, n)
            for example, target in zip(self.examples, self._targets, strict=True)
            for n in target.right[:1]
            if n in wanted
        ]
        queries = torch.from_numpy(self.encoder.encode_questions([question for question, _ in known]))
        found: dict[int, list[Tensor]] = {}
        for (_, n), query in zip(known, queries, strict=True):
            found.setdefault(n, []).append(query)
        return {n: torch.stack(some) for n, some in found.items()}

    def _follow_ups(self) -> list[FollowUp]:
        targets = torch.from_numpy(self.encoder.encode_questions([one.rewrite for one in self.asked_after]))
        rows = [self.encoder.token_ids([*one.history[-RECENT:], one.question]) for one in self.asked_after]
        return [FollowUp(row, target) for row, target in zip(rows, targets, strict=True)]
