"""Train an encoder and a reader together over an index whose keys follow: `memptm train realm`.

In phases, each a run of its own that goes on where it stopped; the next begins with the encoder that one made:

    ict        sentences find the passages they were taken from: the warm start (pairs.py)
    masked     names and dates hidden in sentences are filled in from passages found (salient.py)
    questions  questions find the passages known to answer them (pairs.py)
    joint      the span reader and the retriever under one score (joint.py)

Source: Guu et al. 2020 (arXiv 2002.08909). One encoder reads queries and passages alike, as the encoders it starts from do;
the paper's has two. The result is a new encoder and a new index keyed by it; the index given is left as it is.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from memptm.documents.entities import entities
from memptm.encoders.base import embedding_text
from memptm.encoders.bert import Bert
from memptm.encoders.sentence import BertEncoder
from memptm.encoders.two_sided import memory_left, shared_encoder
from memptm.errors import InputError
from memptm.memory.encode import digest
from memptm.memory.folder import IndexFolder
from memptm.memory.memory import Memory
from memptm.memory.rekey import KeyCache, rekey
from memptm.progress import Progress, silent
from memptm.training.data.examples import Example, answered_examples
from memptm.training.data.masks import Masks, find_blanks
from memptm.training.data.targets import find_targets
from memptm.training.losses.pairs import TELEMETRY_PASSAGES, Pair, PairTask, inverse_cloze, question_pairs
from memptm.training.runtime.arithmetic import pin_precision
from memptm.training.runtime.checkpoint import CHECKPOINT
from memptm.training.runtime.evaluate import compare, rows_with_answers
from memptm.training.runtime.loop import TrainingTask, fit, shuffled
from memptm.training.runtime.refresh import Refresh, Versions
from memptm.training.runtime.telemetry import Telemetry
from memptm.training.runtime.trainable_encoder import TrainableEncoder, load_trained
from memptm.types import Json, Passage

Phase = Literal["ict", "masked", "questions", "joint"]
PHASES: tuple[Phase, ...] = ("ict", "masked", "questions", "joint")
ON_QUESTIONS = ("questions", "joint")
STEPS = 500  # of a phase on the index alone, which may hold far more sentences than anyone waits for


@dataclass(frozen=True, kw_only=True)
class RealmRecipe:
    """How to train.

    Attributes:
        epochs: of the phase on questions; the others go once through their rows.
        steps: of a phase, at most; None: all on questions, STEPS on the index alone.
        pairs: a step's pairs (ict, questions). hard: negatives that each has beside the other pairs' passages. batch: a step's sentences or questions (masked, joint).
        k: documents read for each of them, among them the null document of a masked sentence, if ``null``.
        refresh_every: steps between two refreshes of the keys; 0: never. same_document: see Candidates.
        passage_tokens: of a passage, as far as it is read for a masked sentence.
    """

    phases: tuple[Phase, ...] = PHASES
    epochs: int = 1
    steps: int | None = None
    pairs: int = 16
    hard: int = 3
    batch: int = 8
    k: int = 8
    null: bool = True
    masks: Masks = "salient"
    same_document: bool = False
    refresh_every: int = 100
    passage_tokens: int = 192
    temperature: float = 0.05
    learning_rate: float = 3e-5
    reader_learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    dropout: float = 0.1
    warm_up: float = 0.1
    save_every: int = 50
    seed: int = 0


def train_realm(
    data: Sequence[Path],
    memory: Memory,
    out: Path,
    *,
    start: str | None = None,
    recipe: RealmRecipe | None = None,
    held_out: Sequence[Path] = (),
    progress: Progress = silent,
) -> Json:
    """Train ``memory``'s encoder, and a span reader with it; the phases on questions need ``data``.

    Args:
        data: JSONL of {question, answers, context?}; a context that is in the index names the right passage.
        recipe: its phases are gone through in the order of PHASES. memory: left as it is. out: a folder a phase (log.jsonl, telemetry.png, a checkpoint), and encoder, index and, after
            the joint phase, reader. A second call goes on where the first stopped, bit for bit on a CPU.
        start: a reader for the joint phase to start from; the packaged one if None.
        held_out: rows of the same kind; recall on them before and after is in the result.
    Returns:
        {"encoder", "index", "reader"?: folders, "phases": {name: {"steps", "rows", "seconds", "loss", "warning",
        "telemetry"}}, "seconds"}; "note" where the memory of the index's encoder is lost; and, with ``held_out``, {"n",
        "recall", "frozen"}.
    Raises:
        InputError: no usable rows, a malformed one, too small an index, an encoder that cannot be trained, other settings
            than those of the run in ``out``. ExtraMissing: no tagger of names. MemptmError: the loss is no number.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe, began = recipe or RealmRecipe(), time.monotonic()
    tested = rows_with_answers(held_out)
    encoder = shared_encoder(memory.encoder)
    examples = answered_examples(data) if data else []
    phases = [phase for phase in PHASES if phase in recipe.phases and (data or phase not in ON_QUESTIONS)]
    if not phases:
        raise InputError("Training on questions needs some. Give DATA.jsonl, or choose phase ict or masked.")
    found = IndexFolder(out / "index").manifest()
    if found is not None and not (out / phases[-1] / DONE).is_file():
        raise InputError(f"{out / 'index'} is there from another run. Move it away, or give another folder.")
    pin_precision(out)
    run = _Run(memory, encoder, out, recipe, examples, start, progress)
    if "masked" in phases:  # asked before the phases that come first are trained
        _enough_documents(run.passages, recipe)
        if recipe.masks == "salient":
            next(entities([""]))
    phase_results: dict[str, Json] = {}
    for phase in phases:
        phase_results[phase] = run.phase(phase)
    encoder = run.encoder
    made = rekey(memory, out / "index", encoder, cache=run.cache, progress=progress)
    result: Json = {"encoder": str(encoder.folder), "index": str(made.path)}
    if "joint" in phases:
        result["reader"] = str(out / "joint" / "reader")
    result |= {"phases": phase_results, "seconds": round(time.monotonic() - began, 1)}
    if note := memory_left(memory.encoder):
        result["note"] = note
    if held_out:
        passages, keys = made.keys()
        if passages != run.passages:  # the index was written to meanwhile
            keys = encoder.encode_passages(run.texts)
        result |= compare(tested, run.passages, before=(memory.encoder, run.first), after=(encoder, keys))
    return result


class _Run:
    """The encoder as it is after the phases so far, and what each phase needs."""

    def __init__(
        self,
        memory: Memory,
        encoder: BertEncoder,
        out: Path,
        recipe: RealmRecipe,
        examples: Sequence[Example],
        reader: str | None,
        progress: Progress,
    ) -> None:
        self.out, self.recipe, self.examples, self.reader, self.progress = out, recipe, examples, reader, progress
        self.encoder = self.original = encoder
        self.passages, self.first = memory.keys()
        if len(self.passages) <= recipe.k:
            raise InputError(
                f"The index holds {len(self.passages)} passages; training with k = {recipe.k} needs more. "
                "Add documents, or lower -k."
            )
        self.texts = [embedding_text(passage) for passage in self.passages]
        self.cache = KeyCache(out / "keys")

    def phase(self, phase: Phase) -> Json:
        """Run a phase to its end, and go on with its encoder; one that has ended is not run again."""
        folder, began = self.out / phase, time.monotonic()
        settings = {name: getattr(self.recipe, name) for name in (*ALWAYS, *USED[phase])}
        settings |= {"index": digest(*self.texts), "start": self.encoder.fingerprint}
        if phase in ON_QUESTIONS:
            settings["data"] = digest(*map(repr, self.examples))
        if phase == "joint":
            settings["reader"] = self.reader
        done = _done(folder, settings)
        if done is None:
            torch.manual_seed(self.recipe.seed)
            done = MAKE[phase](self, folder, settings)
            done["seconds"] = round(time.monotonic() - began, 1)
            half = folder / f"{DONE}.part"
            half.write_text(json.dumps({"settings": settings, "result": done}), encoding="utf-8")
            half.replace(folder / DONE)
        self.encoder = load_trained(folder / "encoder")
        return done

    def trainable(self) -> TrainableEncoder:
        """The encoder, ready to learn."""
        return TrainableEncoder(self.encoder, dropout=self.recipe.dropout).train()

    def versions(self, trainable: TrainableEncoder, folder: Path) -> Versions:
        """The keys at each step, the first of them by the encoder as it is."""
        first = self.first
        if self.encoder is not self.original:
            first = self.cache.keys(self.texts, self.encoder, progress=self.progress)
        if not (folder / CHECKPOINT).is_file():  # what is there is of a run that was given up before it saved anything
            shutil.rmtree(folder / "refresh", ignore_errors=True)
        refresh = Refresh(folder / "refresh", self.texts, run=self.out) if self.recipe.refresh_every else None

        def write(place: Path) -> None:
            trainable.encoder.write(trainable.bert, place)

        return Versions(torch.from_numpy(first), refresh, self.recipe.refresh_every, write=write)

    def fit(
        self,
        phase: Phase,
        task: TrainingTask,
        keys: Versions,
        trainable: TrainableEncoder,
        rows: int,
        folder: Path,
        settings: Json,
    ) -> Json:
        """Run the task and save the encoder."""
        recipe, read = self.recipe, phase in ("masked", "joint")
        plan = shuffled(
            rows,
            batch=recipe.batch if read else recipe.pairs,
            epochs=recipe.epochs if phase == "questions" else 1,
            steps=recipe.steps or (None if phase in ON_QUESTIONS else STEPS),
            seed=recipe.seed,
        )
        try:
            telemetry = fit(
                task,
                plan,
                folder,
                settings=settings,
                warm_up=recipe.warm_up,
                save_every=recipe.save_every,
                documents=recipe.k if read else TELEMETRY_PASSAGES,
                remedy="Lower --batch or -k." if read else "Lower --pairs.",
                stage=phase,
                saved=keys.saved,
                progress=self.progress,
            )
        finally:
            keys.close()
        half = folder / "encoder.part"
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        trainable.encoder.write(trainable.bert, half)
        half.replace(folder / "encoder")
        keys.forget()
        return _report(telemetry, len(plan), rows) | {"waited": round(keys.waited, 1)}


def _ict(run: _Run, folder: Path, settings: Json) -> Json:
    pairs = inverse_cloze(run.passages, epochs=1, seed=run.recipe.seed)
    if not pairs:
        raise InputError("No passage has two sentences; the inverse cloze task needs some. Choose other phases.")
    return _pairs("ict", run, pairs, folder, settings)


def _questions(run: _Run, folder: Path, settings: Json) -> Json:
    queries = run.original.encode_questions([example.question for example in run.examples])
    targets = find_targets(run.examples, run.passages, run.first, queries)
    return _pairs("questions", run, question_pairs(run.examples, targets, run.texts), folder, settings)


def _pairs(phase: Phase, run: _Run, pairs: Sequence[Pair], folder: Path, settings: Json) -> Json:
    trainable = run.trainable()
    keys = run.versions(trainable, folder)
    recipe = run.recipe
    task = PairTask(
        trainable,
        pairs,
        run.texts,
        keys,
        hard=recipe.hard,
        temperature=recipe.temperature,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
    )
    return run.fit(phase, task, keys, trainable, len(pairs), folder, settings)


def _masked(run: _Run, folder: Path, settings: Json) -> Json:
    from memptm.generation.windows import load_tokenizer
    from memptm.training.losses.masked_reader import Clozer, MaskedReader
    from memptm.training.losses.salient import MaskedSpanTask

    recipe = run.recipe
    blanks = find_blanks(run.passages, recipe.masks, seed=recipe.seed, progress=run.progress)
    if not blanks:
        raise InputError("No sentence of the index holds a name or a date to hide. Try --masks random.")
    trainable = run.trainable()
    keys = run.versions(trainable, folder)
    task = MaskedSpanTask(
        trainable,
        MaskedReader(Bert.load(run.original.folder)),
        Clozer(load_tokenizer(run.original.folder), passage_tokens=recipe.passage_tokens),
        blanks,
        run.passages,
        keys,
        k=recipe.k,
        null=recipe.null,
        same_document=recipe.same_document,
        temperature=recipe.temperature,
        learning_rates=(recipe.learning_rate, recipe.reader_learning_rate, recipe.head_learning_rate),
        seed=recipe.seed,
    )
    return run.fit("masked", task, keys, trainable, len(task.rows), folder, settings)


def _joint(run: _Run, folder: Path, settings: Json) -> Json:
    from memptm.generation.reader import Reader
    from memptm.generation.spans import SpanScorer
    from memptm.training.losses.joint import JointTask

    recipe, reader = run.recipe, Reader.load(run.reader)
    scorer = SpanScorer.load(reader.folder)
    scorer.trunk.freeze_embeddings()
    trainable = run.trainable()
    keys = run.versions(trainable, folder)
    task = JointTask(
        trainable,
        scorer,
        reader.windower,
        run.examples,
        run.passages,
        keys,
        k=recipe.k,
        learning_rates=(recipe.learning_rate, recipe.reader_learning_rate),
    )
    result = run.fit("joint", task, keys, trainable, len(run.examples), folder, settings)
    scorer.save(folder / "reader")
    return result


ALWAYS = ("steps", "temperature", "learning_rate", "dropout", "warm_up", "refresh_every", "seed")
USED: dict[Phase, tuple[str, ...]] = {
    "ict": ("pairs", "hard"),
    "masked": (
        "batch", "k", "null", "masks", "same_document", "passage_tokens", "reader_learning_rate", "head_learning_rate",
    ),
    "questions": ("epochs", "pairs", "hard"),
    "joint": ("batch", "k", "reader_learning_rate"),
}  # fmt: skip
MAKE: dict[Phase, Callable[[_Run, Path, Json], Json]] = {
    "ict": _ict,
    "masked": _masked,
    "questions": _questions,
    "joint": _joint,
}
DONE = "done.json"


def _done(folder: Path, settings: Json) -> Json | None:
    """What a phase that ended in ``folder`` reported; None if none has.

    Raises:
        InputError: it ended with other settings.
    """
    if not (folder / DONE).is_file():
        return None
    found = json.loads((folder / DONE).read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(settings))
    different = [name for name in wanted if found["settings"].get(name) != wanted[name]]
    if different:
        raise InputError(
            f"{folder} holds a run with another {different[0]} ({found['settings'].get(different[0])}, "
            f"not {wanted[different[0]]}). Give another folder."
        )
    result: Json = found["result"]
    return result


def _report(telemetry: Telemetry, steps: int, rows: int) -> Json:
    telemetry.plot()
    numbers: Json = {"steps": steps, "rows": rows, "loss": telemetry.mean("loss")}
    return numbers | {"warning": telemetry.collapse(), "telemetry": telemetry.table()}


def _enough_documents(passages: Sequence[Passage], recipe: RealmRecipe) -> None:
    documents = {passage.document_key for passage in passages}
    if not recipe.same_document and len(documents) <= recipe.k:
        raise InputError(
            f"The index holds {len(documents)} documents; a masked sentence reads none of its own, so that k = {recipe.k} "
            "needs more. Lower -k, or let passages of the same document be read (--same-document)."
        )
