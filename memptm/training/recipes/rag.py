"""Train a retriever on questions and answers, the index's keys left as they are: `memptm train rag`.

The encoder that reads questions learns, from known passages or from how well a generator answers out of what it finds; the
generator may learn with it (Lewis et al. 2020, arXiv 2005.11401: question encoder and generator, the index frozen). The
result is an encoder for the same index: `memptm query --encoder`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memptm.encoders.load import load_encoder
from memptm.encoders.two_sided import query_and_passage_encoders, save_questions
from memptm.errors import InputError
from memptm.generation.generator import ADAPTER, MARGINAL, Generator
from memptm.generation.marginal import token_log_likelihood
from memptm.memory.memory import Memory
from memptm.progress import Progress, silent
from memptm.training.data.examples import Example, read_examples
from memptm.training.data.targets import NO_TARGET, Target, find_targets
from memptm.training.losses.passage_likelihood import NULL, Judge
from memptm.training.losses.retriever import contrast, marginal, perplexity_distillation
from memptm.training.runtime.adapter import save_adapter, trainable_adapter
from memptm.training.runtime.arithmetic import pin_precision
from memptm.training.runtime.evaluate import compare, rows_with_answers
from memptm.training.runtime.loop import finished, fit, shuffled
from memptm.training.runtime.run import Run, digest_of, index_digest, plain, weights_digest
from memptm.training.runtime.telemetry import retrieval_numbers
from memptm.training.runtime.trainable_encoder import TrainableEncoder
from memptm.types import Json, Passage

Loss = Literal["contrast", "perplexity", "emdr2", "marginal"]
LOSSES: tuple[Loss, ...] = ("contrast", "perplexity", "emdr2", "marginal")
REMEDY = "Lower --batch, --judged or -k."


@dataclass(frozen=True, kw_only=True)
class RagRecipe:
    """How to train.

    Attributes:
        losses: "contrast": known passages against all others of the index. "perplexity", "emdr2": what a frozen
            generator answers best from. "marginal": as RAG, the generator's adapter learns with it. Their sum is
            minimised.
        token: the marginal is RAG-Token's, not RAG-Sequence's.
        epochs: times through the rows.
        steps: at most; None: all of ``epochs``.
        batch: questions a step.
        judged: of these, how many the generator reads passages for.
        k: passages each.
        temperature: p(z|x) is the softmax of cosines divided by it.
        learning_rate: of the question side, at its highest.
        generator_learning_rate: of the generator's adapter, at its highest.
        dropout: share of the activations that are zeroed, from 0 to 1.
        warm_up: share of the run, from 0 to 1, in which the learning rate rises.
        save_every: steps between two checkpoints.
        seed: of all that is drawn at random.
    """

    losses: tuple[Loss, ...] = ("contrast",)
    token: bool = False
    epochs: int = 4
    steps: int | None = None
    batch: int = 64
    judged: int = 4
    k: int = 5
    temperature: float = 0.05
    learning_rate: float = 5e-5
    generator_learning_rate: float = 1e-4
    dropout: float = 0.1
    warm_up: float = 0.1
    save_every: int = 50
    seed: int = 0


def train_rag(
    data: Sequence[Path],
    memory: Memory,
    out: Path,
    *,
    generator: str | None = None,
    recipe: RagRecipe | None = None,
    held_out: Sequence[Path] = (),
    resume: bool = True,
    progress: Progress = silent,
) -> Json:
    """Train the question side of ``memory``'s encoder and save it to ``out``/encoder.

    Args:
        data: JSONL of {question, answers, context?}; a context that is in the index names the right passage.
        memory: its keys stay as they are. Questions held out must not have their passages in it, if it is to count.
        out: log.jsonl, telemetry.png, a checkpoint, and with loss "marginal" the generator's adapter go there too; a
            second call goes on from the checkpoint, bit for bit on a CPU.
        generator: a name or a folder; the packaged one if None. Loaded only for losses that need it.
        recipe: how; its defaults if None.
        held_out: rows of the same kind; recall on them before and after is in the result.
        resume: False starts anew.
        progress: called after every step.
    Returns:
        {"steps", "new_steps" of this call, "examples", "skipped", "seconds", "loss", "warning" of a collapse,
        "telemetry": [means]}; "note" where no step was left; and, with ``held_out``, {"n", "recall", "frozen"}.
    Raises:
        InputError: no usable rows, a malformed one, too small an index, an encoder that cannot be trained, settings
            that no loss asks for, or another run in ``out``.
        MemptmError: the loss is no number; the last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C, after the step at hand was finished and saved.
    """
    recipe = recipe or RagRecipe()
    if recipe.token and "marginal" not in recipe.losses:
        raise InputError("RAG-Token's marginal is a loss of its own: add --loss marginal, or leave --token out.")
    if generator is not None and recipe.losses == ("contrast",):
        raise InputError("--loss contrast asks no generator. Add --loss perplexity, emdr2 or marginal.")
    tested = rows_with_answers(held_out)
    rows = list(read_examples(data, contexts=False))
    answered = [row for row in rows if row.answers]
    if not answered:
        raise InputError('No row has an answer. A line is {"question": "...", "answers": ["..."], "context"?: "..."}.')
    passages, keys = memory.keys()
    if len(passages) <= recipe.k:
        raise InputError(
            f"The index holds {len(passages)} passages; training with k = {recipe.k} needs more. Add documents, or lower -k."
        )
    questions_encoder, _ = query_and_passage_encoders(memory.encoder)
    start = {"encoder": questions_encoder.fingerprint}
    if recipe.losses != ("contrast",):
        start["generator"] = weights_digest(generator or str(ADAPTER))
    run = Run(
        "rag",
        out,
        data={"data": digest_of(answered), "index": index_digest(passages)},
        start=start,
        settings=plain({**asdict(recipe), "keys": memory.encoder.fingerprint}),
    )
    run.claim(publishes=("encoder", "generator"), beside=memory)
    if resume:
        run.check()
    pin_precision(out)
    torch.manual_seed(recipe.seed)
    frozen = questions_encoder.encode_questions([row.question for row in answered])
    targets = find_targets(answered, passages, keys, frozen)
    chosen = [n for n, target in enumerate(targets) if target.right or recipe.losses != ("contrast",)]
    if not chosen:
        raise InputError(NO_TARGET)
    examples = [answered[n] for n in chosen]
    trainable = TrainableEncoder(questions_encoder, dropout=recipe.dropout).train()
    model = nn.ModuleDict({"questions": trainable})
    judge, adapted = _judge(generator, examples, passages, recipe, progress)
    if adapted is not None:
        model["generator"] = adapted
    task = RetrieverTask(
        model=model,
        trainable=trainable,
        ids=questions_encoder.token_ids([row.question for row in examples]),
        keys=torch.from_numpy(keys),
        frozen=torch.from_numpy(frozen[chosen]),
        targets=[targets[n] for n in chosen],
        judge=judge,
        recipe=recipe,
    )
    plan = shuffled(len(examples), batch=recipe.batch, epochs=recipe.epochs, steps=recipe.steps, seed=recipe.seed)
    fitted = fit(
        task,
        plan,
        run,
        warm_up=recipe.warm_up,
        save_every=recipe.save_every,
        documents=recipe.k,
        remedy=REMEDY,
        resume=resume,
        progress=progress,
    )
    run.publish("encoder", lambda folder: save_questions(trainable.bert, memory.encoder, folder))
    if adapted is not None:
        run.publish("generator", lambda folder: _save_generator(adapted, folder, token=recipe.token))
    fitted.telemetry.plot()
    result = fitted.numbers() | {"examples": len(examples), "skipped": len(rows) - len(examples)}
    result |= {"warning": fitted.telemetry.collapse(), "telemetry": fitted.telemetry.table()} | finished(run, fitted)
    if not held_out:
        return result
    return result | compare(
        tested, passages, before=(memory.encoder, keys), after=(load_encoder(str(out / "encoder")), keys)
    )


def _save_generator(adapted: Any, folder: Path, *, token: bool) -> None:
    """The adapter, and for which of the two marginals it was trained."""
    save_adapter(adapted, folder)
    (folder / MARGINAL).write_text(json.dumps({"marginal": "rag-token" if token else "rag-sequence"}) + "\n", "utf-8")


def _judge(
    name: str | None, examples: Sequence[Example], passages: Sequence[Passage], recipe: RagRecipe, progress: Progress
) -> tuple[Judge | None, Any]:
    """The generator as a judge, and its adapter if that is to learn."""
    if recipe.losses == ("contrast",):
        return None, None
    if "marginal" not in recipe.losses:
        return Judge(Generator.load(name), examples, passages, frozen=True), None
    adapted, tokenizer = trainable_adapter(name or str(ADAPTER), progress=progress)
    generator = Generator(adapted.get_base_model(), tokenizer, name=name or str(ADAPTER))
    return Judge(generator, examples, passages, frozen=False), adapted


class RetrieverTask:
    """All that a step needs.

    Args:
        model: all that learns: the encoder and, with loss marginal, the generator's adapter.
        trainable: the question side.
        ids: token ids of each question.
        keys: (passages, dimension) of the index.
        frozen: (questions, dimension) queries before training.
        targets: of each question, which passages are right.
        judge: the generator, for the losses that ask it; None: none does.
        recipe: losses and sizes.
    """

    def __init__(
        self,
        *,
        model: nn.ModuleDict,
        trainable: TrainableEncoder,
        ids: list[list[int]],
        keys: Tensor,
        frozen: Tensor,
        targets: Sequence[Target],
        judge: Judge | None,
        recipe: RagRecipe,
    ) -> None:
        self.model: nn.ModuleDict = model
        self.trainable, self.ids = trainable, ids
        self.keys, self.frozen = keys, frozen
        self.targets, self.judge, self.recipe = targets, judge, recipe

    def groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [{"params": self.trainable.trained(), "lr": self.recipe.learning_rate}]
        if "generator" in self.model:
            trained = [p for p in self.model["generator"].parameters() if p.requires_grad]
            groups.append({"params": trained, "lr": self.recipe.generator_learning_rate})
        return groups

    def state(self) -> dict[str, Tensor]:
        return self.judge.state() if self.judge is not None and self.judge.frozen else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        if self.judge is not None and self.judge.frozen:
            self.judge.restore(state)

    def training_step(self, step: int, rows: Sequence[int]) -> Json:  # noqa: ARG002 (the keys are the same at every step)
        recipe = self.recipe
        queries = self.trainable([self.ids[row] for row in rows])
        scores = queries @ self.keys.t() / recipe.temperature
        top = scores.detach().topk(recipe.k, dim=1).indices
        numbers = retrieval_numbers(
            scores.detach().gather(1, top).log_softmax(dim=1),
            top,
            queries.detach(),
            self.frozen[list(rows)],
            keys=self.keys,
            temperature=recipe.temperature,
        )
        total = scores.new_zeros(())
        if "contrast" in recipe.losses:
            part, against = self._contrast(scores, rows)
            total, numbers = total + part, {**numbers, "negatives": against}
        if self.judge is not None:
            judged = min(recipe.judged, len(rows))
            log_prior = scores[:judged].gather(1, top[:judged]).log_softmax(dim=1)
            part, utility = self._utility_loss(self.judge, list(rows[:judged]), top[:judged], log_prior)
            total, numbers = total + part, {**numbers, "utility": utility}
        total.backward()
        return {"loss": float(total.detach()), **numbers, "stale": 0}

    def _contrast(self, scores: Tensor, rows: Sequence[int]) -> tuple[Tensor, float]:
        """The loss against all other passages, and how many those were, a question."""
        right, doubtful = torch.zeros(scores.shape, dtype=torch.bool), torch.zeros(scores.shape, dtype=torch.bool)
        for n, row in enumerate(rows):
            right[n, list(self.targets[row].right)] = True
            doubtful[n, list(self.targets[row].doubtful)] = True
        against = float((~(right | doubtful)).sum(dim=1).float().mean())
        known = right.any(dim=1)
        if not bool(known.any()):
            return scores.sum() * 0, against
        return contrast(scores[known], right[known], doubtful[known]), against

    def _utility_loss(
        self, judge: Judge, rows: list[int], documents: Tensor, log_prior: Tensor
    ) -> tuple[Tensor, float]:
        """What the generator teaches, and the mean retrieval utility log p(y|x) − log p(y|null,x)."""
        recipe = self.recipe
        total = log_prior.new_zeros(())
        nothing = torch.full((len(rows), 1), NULL)
        with torch.no_grad():
            null = judge(rows, nothing)[:, 0]
        if "marginal" in recipe.losses and recipe.token:
            log_p, answer_mask = judge.tokens(rows, documents)
            table = log_p.sum(dim=2)
            total = total - token_log_likelihood(log_p, log_prior, answer_mask).mean()
        else:
            table = judge(rows, documents)
            total = total + (marginal(log_prior, table) if "marginal" in recipe.losses else 0.0)
        if "perplexity" in recipe.losses:
            total = total + perplexity_distillation(log_prior, table)
        if "emdr2" in recipe.losses:
            total = total + marginal(log_prior, table.detach())
        utility = (log_prior.detach() + table.detach()).logsumexp(dim=1) - null
        return total, float(utility.mean())
