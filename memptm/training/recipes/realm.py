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
from memptm.generation.reader import SHIPPED
from memptm.memory.folder import replace
from memptm.memory.memory import Memory
from memptm.memory.rekey import KeyCache
from memptm.progress import Progress, silent
from memptm.training.data.examples import Example, answered_examples
from memptm.training.data.masks import Masks, find_blanks
from memptm.training.data.pairs import Pair, inverse_cloze, question_pairs
from memptm.training.data.targets import find_targets
from memptm.training.losses.pairs import TELEMETRY_PASSAGES, PairTask
from memptm.training.runtime.arithmetic import pin_precision
from memptm.training.runtime.evaluate import compare, rows_with_answers
from memptm.training.runtime.loop import TrainingTask, fit, shuffled
from memptm.training.runtime.refresh import Refresh, Versions
from memptm.training.runtime.run import Run, digest_of, index_digest, reader_digest
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
        phases: which are gone through, in the order of PHASES.
        epochs: of the phase on questions; the others go once through their rows.
        steps: of a phase, at most; None: all on questions, STEPS on the index alone.
        pairs: a step's pairs (ict, questions).
        hard: negatives that each has beside the other pairs' passages.
        batch: a step's sentences or questions (masked, joint).
        k: documents read for each of them, among them the null document of a masked sentence, if ``null``.
        null: whether a masked sentence may be filled without a document.
        masks: what is hidden in a sentence, see ``find_blanks``.
        same_document: see Candidates.
        refresh_every: steps between two refreshes of the keys; 0: never.
        passage_tokens: of a passage, as far as it is read for a masked sentence.
        temperature: p(z|x) is the softmax of cosines divided by it.
        learning_rate: of the encoder, at its highest.
        reader_learning_rate: of the reader in phase joint, at its highest.
        head_learning_rate: of what the masked reader has beside its encoder, at its highest.
        dropout: share of the activations that are zeroed, from 0 to 1.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
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
        memory: left as it is.
        out: a folder a phase (log.jsonl, telemetry.png, a checkpoint), and encoder, index and, after the joint phase,
            reader. A second call goes on where the first stopped, bit for bit on a CPU.
        start: a reader for the joint phase to start from; the packaged one if None.
        recipe: its phases are gone through in the order of PHASES.
        held_out: rows of the same kind; recall on them before and after is in the result.
        progress: called after every step.
    Returns:
        {"encoder", "index", "reader"?: folders, "phases": {name: {"steps", "new_steps" of this call, "rows",
        "seconds", "loss", "warning", "telemetry", "waited"}}, "seconds"}; "note" where the memory of the index's
        encoder is lost or no step was left; and, with ``held_out``, {"n", "recall", "frozen"}.
    Raises:
        InputError: no usable rows, a malformed one, too small an index, an encoder that cannot be trained, another run
            in ``out``.
        ExtraMissing: no tagger of names.
        MemptmError: the loss is no number.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe, began = recipe or RealmRecipe(), time.monotonic()
    tested = rows_with_answers(held_out)
    encoder = shared_encoder(memory.encoder)
    examples = answered_examples(data) if data else []
    phases = [phase for phase in PHASES if phase in recipe.phases and (data or phase not in ON_QUESTIONS)]
    if not phases:
        raise InputError("Training on questions needs some. Give DATA.jsonl, or choose phase ict or masked.")
    train = _Training(memory, encoder, out, recipe, examples, start, progress)
    train.begin(phases)
    if "masked" in phases:  # asked before the phases that come first are trained
        _enough_documents(train.passages, recipe)
        if recipe.masks == "salient":
            next(entities([""]))
    phase_results = {phase: train.phase(phase) for phase in phases}
    encoder = train.encoder
    made = train.run.publish_index(memory, encoder, phases=phases, cache=train.cache, progress=progress)
    result: Json = {"encoder": str(encoder.folder), "index": str(made.path)}
    if "joint" in phases:
        result["reader"] = str(out / "joint" / "reader")
    result |= {"phases": phase_results, "seconds": round(time.monotonic() - began, 1)}
    if not any(one["new_steps"] for one in phase_results.values()):
        result["note"] = f"The run in {out} was finished. More --steps or --epochs go on from it."
    if note := memory_left(memory.encoder):
        result["note"] = note
    if held_out:
        passages, keys = made.keys()
        if passages != train.passages:  # the index was written to meanwhile
            keys = encoder.encode_passages(train.texts)
        result |= compare(tested, train.passages, before=(memory.encoder, train.first), after=(encoder, keys))
    return result


class _Training:
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
        self.memory, self.run, self.runs = memory, Run("realm", out), dict[Phase, Run]()
        self.encoder = self.original = encoder
        self.passages, self.first = memory.keys()
        if len(self.passages) <= recipe.k:
            raise InputError(
                f"The index holds {len(self.passages)} passages; training with k = {recipe.k} needs more. "
                "Add documents, or lower -k."
            )
        self.texts = [embedding_text(passage) for passage in self.passages]
        self.cache = KeyCache(out / "keys")

    def begin(self, phases: Sequence[Phase]) -> None:
        """Take the folder, and see that what is in it is of this run."""
        self.run.claim(*PHASES, "keys", publishes=("index",), phases=phases, beside=self.memory)
        for n, phase in enumerate(phases):
            data = {"index": index_digest(self.passages)}
            start = {} if n else {"encoder": self.encoder.fingerprint}
            if phase in ON_QUESTIONS:
                data["data"] = digest_of(self.examples)
            if phase == "joint":
                start["reader"] = reader_digest(Path(self.reader).expanduser() if self.reader else SHIPPED)
            settings = {name: getattr(self.recipe, name) for name in (*ALWAYS, *USED[phase])}
            self.runs[phase] = self.run.phase(phase, data=data, start=start, settings=settings, after=phases[:n])
            self.runs[phase].check()
        pin_precision(self.out)

    def phase(self, phase: Phase) -> Json:
        """Run a phase to its end, and go on with its encoder; one that has ended is not run again."""
        began = time.monotonic()
        run = self.runs[phase].begun_with(encoder=self.encoder.fingerprint)
        length = {name: getattr(self.recipe, name) for name in ("steps", "epochs")}
        result = _done(run, length)
        if result is None:
            torch.manual_seed(self.recipe.seed)
            result = MAKE[phase](self, run)
            result["seconds"] = round(time.monotonic() - began, 1)
            done = {"identity": run.identity, "length": length, "result": result}
            replace(run.folder / DONE, json.dumps(done).encode())
        self.encoder = load_trained(run.folder / "encoder")
        return result

    def trainable(self) -> TrainableEncoder:
        """The encoder, ready to learn."""
        return TrainableEncoder(self.encoder, dropout=self.recipe.dropout).train()

    def versions(self, trainable: TrainableEncoder, run: Run) -> Versions:
        """The keys at each step, the first of them by the encoder as it is."""
        first = self.first
        if self.encoder is not self.original:
            first = self.cache.keys(self.texts, self.encoder, progress=self.progress)
        folder = run.folder / "refresh"
        if not (run.has_checkpoint() and run.same_start()):  # what is there is of a run that is not gone on with
            shutil.rmtree(folder, ignore_errors=True)
        refresh = Refresh(folder, self.texts, run=self.out) if self.recipe.refresh_every else None

        def write(place: Path) -> None:
            trainable.encoder.write(trainable.bert, place)

        return Versions(torch.from_numpy(first), refresh, self.recipe.refresh_every, write=write)

    def fit(
        self, phase: Phase, task: TrainingTask, keys: Versions, trainable: TrainableEncoder, rows: int, run: Run
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
            fitted = fit(
                task,
                plan,
                run,
                warm_up=recipe.warm_up,
                save_every=recipe.save_every,
                documents=recipe.k if read else TELEMETRY_PASSAGES,
                remedy="Lower --batch or -k." if read else "Lower --pairs.",
                stage=phase,
                resume=run.same_start(),  # not where the phase before was given more steps
                saved=keys.saved,
                progress=self.progress,
            )
        finally:
            keys.close()
        half = run.folder / "encoder.part"
        trainable.encoder.write(trainable.bert, half)
        shutil.rmtree(run.folder / "encoder", ignore_errors=True)
        half.replace(run.folder / "encoder")
        telemetry = fitted.telemetry
        telemetry.plot()
        result = fitted.numbers() | {"rows": rows, "warning": telemetry.collapse(), "telemetry": telemetry.table()}
        return result | {"waited": round(keys.waited, 1)}


def _ict(training: _Training, run: Run) -> Json:
    pairs = inverse_cloze(training.passages, epochs=1, seed=training.recipe.seed)
    if not pairs:
        raise InputError("No passage has two sentences; the inverse cloze task needs some. Choose other phases.")
    return _pairs("ict", training, pairs, run)


def _questions(training: _Training, run: Run) -> Json:
    queries = training.original.encode_questions([example.question for example in training.examples])
    targets = find_targets(training.examples, training.passages, training.first, queries)
    return _pairs("questions", training, question_pairs(training.examples, targets, training.texts), run)


def _pairs(phase: Phase, training: _Training, pairs: Sequence[Pair], run: Run) -> Json:
    trainable = training.trainable()
    keys = training.versions(trainable, run)
    recipe = training.recipe
    task = PairTask(
        trainable,
        pairs,
        training.texts,
        keys,
        hard=recipe.hard,
        temperature=recipe.temperature,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
    )
    return training.fit(phase, task, keys, trainable, len(pairs), run)


def _masked(training: _Training, run: Run) -> Json:
    from memptm.generation.windows import load_tokenizer
    from memptm.training.losses.masked_reader import Clozer, MaskedReader
    from memptm.training.losses.salient import MaskedSpanTask

    recipe = training.recipe
    blanks = find_blanks(training.passages, recipe.masks, seed=recipe.seed, progress=training.progress)
    if not blanks:
        raise InputError("No sentence of the index holds a name or a date to hide. Try --masks random.")
    trainable = training.trainable()
    keys = training.versions(trainable, run)
    task = MaskedSpanTask(
        trainable,
        MaskedReader(Bert.load(training.original.folder)),
        Clozer(load_tokenizer(training.original.folder), passage_tokens=recipe.passage_tokens),
        blanks,
        training.passages,
        keys,
        k=recipe.k,
        null=recipe.null,
        same_document=recipe.same_document,
        temperature=recipe.temperature,
        learning_rates=(recipe.learning_rate, recipe.reader_learning_rate, recipe.head_learning_rate),
        seed=recipe.seed,
    )
    return training.fit("masked", task, keys, trainable, len(task.rows), run)


def _joint(training: _Training, run: Run) -> Json:
    from memptm.generation.reader import Reader
    from memptm.generation.spans import SpanScorer
    from memptm.training.losses.joint import JointTask

    recipe, reader = training.recipe, Reader.load(training.reader)
    scorer = SpanScorer.load(reader.folder)
    scorer.trunk.freeze_embeddings()
    trainable = training.trainable()
    keys = training.versions(trainable, run)
    task = JointTask(
        trainable,
        scorer,
        reader.windower,
        training.examples,
        training.passages,
        keys,
        k=recipe.k,
        learning_rates=(recipe.learning_rate, recipe.reader_learning_rate),
    )
    result = training.fit("joint", task, keys, trainable, len(training.examples), run)
    scorer.save(run.folder / "reader")
    return result


ALWAYS = ("temperature", "learning_rate", "dropout", "warm_up", "refresh_every", "seed")
USED: dict[Phase, tuple[str, ...]] = {
    "ict": ("pairs", "hard"),
    "masked": (
        "batch", "k", "null", "masks", "same_document", "passage_tokens", "reader_learning_rate", "head_learning_rate",
    ),
    "questions": ("pairs", "hard"),
    "joint": ("batch", "k", "reader_learning_rate"),
}  # fmt: skip
MAKE: dict[Phase, Callable[[_Training, Run], Json]] = {
    "ict": _ict,
    "masked": _masked,
    "questions": _questions,
    "joint": _joint,
}
DONE = "done.json"


def _done(run: Run, length: Json) -> Json | None:
    """What a phase of this length that ended reported, with no new steps; None if none has."""
    path = run.folder / DONE
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("identity") != run.identity or found.get("length") != length:
        return None
    result: Json = found["result"]
    return result | {"new_steps": 0}


def _enough_documents(passages: Sequence[Passage], recipe: RealmRecipe) -> None:
    documents = {passage.document_key for passage in passages}
    if not recipe.same_document and len(documents) <= recipe.k:
        raise InputError(
            f"The index holds {len(documents)} documents; a masked sentence reads none of its own, so that k = {recipe.k} "
            "needs more. Lower -k, or let passages of the same document be read (--same-document)."
        )
