"""System 1, trained: one reading of [CLS] question [SEP] clues [SEP] page gives hops, answers, support and meaning.

Source: CogQA (Ding et al. 2019), section 3.2. Hop spans have a start and an end pointer, and a page that leads nowhere
points both at [CLS], whose start logit is therefore the page's own threshold. Answers are the shipped reader's (span MLP
with pointers, and a null answer read off [CLS]), which it starts from. Ours adds a score for each sentence, the mean of
its tokens' logits: whether it is a supporting fact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memptm.documents.sentences import sentence_at, sentences
from memptm.encoders.bert import Bert
from memptm.encoders.precision import bfloat16_is_faster
from memptm.errors import ModelMissing
from memptm.generation.config import ReaderConfig
from memptm.generation.reader import SHIPPED as SHIPPED_READER
from memptm.generation.reader import Span, best_spans, log_sum
from memptm.generation.spans import SpanScorer, load_learned, save_learned
from memptm.generation.windows import ReaderWindow, Windower, by_length, collate, load_tokenizer
from memptm.memory.titles import name_key
from memptm.models import resolve
from memptm.reasoning.system1 import CLUE_TOKENS, CLUES_TOKENS, Hop, PageInput, PageReading, best_hops

HOP_TOKENS = 16  # of a hop's name, at most
TITLE_TOKENS = 32
LATE = 2  # layers from the last whose [CLS] state is the page's meaning (of 6; the original: 4 of 12)
LOWERED = 3.0  # logits by which a page's threshold goes down for hops below it
BATCH_TOKENS = 1536  # of windows read at once, so that their states stay in the processor's cache
FILE = "system1.safetensors"
TRUNK = "scorer.trunk."  # what the names of its BERT's weights begin with


@dataclass(frozen=True)
class Pointed:
    """Logits of a batch of windows, float32.

    Attributes:
        hop_start, hop_end: (batch, tokens); position 0, [CLS], is the threshold; −inf outside the body.
        spans: (batch, tokens, span_tokens), as SpanScorer's.
        null: (batch,), as SpanScorer's.
        support: (batch, tokens), of a token to its sentence's being a supporting fact.
        meaning: (batch, width), the page's semantic vector.
    """

    hop_start: Tensor
    hop_end: Tensor
    spans: Tensor
    null: Tensor
    support: Tensor
    meaning: Tensor


class PointerNet(nn.Module):
    """The model: a reader, and beside it pointers for hops and a score for sentences."""

    def __init__(self, scorer: SpanScorer) -> None:
        super().__init__()
        self.scorer = scorer
        width = scorer.trunk.config.hidden_size
        self.hops = nn.Linear(width, 2)
        self.support = nn.Linear(width, 1)

    @classmethod
    def start(cls, reader: Path | None = None) -> PointerNet:
        """From a reader's folder, the shipped one if None; the new parts are drawn at random."""
        return cls(SpanScorer.load(reader or SHIPPED_READER))

    @classmethod
    def load(cls, folder: Path) -> PointerNet:
        """From a folder written by ``save``.

        Raises:
            ModelMissing: it is not such a folder.
        """
        if not (folder / FILE).is_file() or not (folder / "config.json").is_file():
            raise ModelMissing(
                f"{folder} holds no weights of a cognitive graph. Give a folder made by memptm train graph."
            )
        config = ReaderConfig.read(folder / "config.json")
        model = cls(SpanScorer(config, Bert.load(resolve(config.base))))
        load_learned(model, folder / FILE, trunk=TRUNK)
        return model.eval()

    def save(self, folder: Path) -> None:
        """config.json and the weights (float16, without the base's embeddings)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_learned(self, folder / FILE, trunk=TRUNK)
        text = json.dumps(asdict(self.scorer.config), indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor, body: Tensor) -> Pointed:
        """As ``SpanScorer.forward``'s arguments; what comes back is on the processor as well."""
        ids, mask, segments, body = (one.to(self.hops.weight.device) for one in (ids, mask, segments, body))
        late, hidden = self.states(ids, mask, segments)
        start, end = self.hops(hidden).float().unbind(-1)
        outside = ~body
        outside[:, 0] = False
        return Pointed(
            hop_start=start.masked_fill(outside, -torch.inf).cpu(),
            hop_end=end.masked_fill(outside, -torch.inf).cpu(),
            spans=self.scorer.span_logits(hidden, body).cpu(),
            null=self.scorer.null(hidden[:, 0]).squeeze(-1).float().cpu(),
            support=self.support(hidden).squeeze(-1).float().cpu(),
            meaning=late[:, 0].float().cpu(),
        )

    def states(self, ids: Tensor, mask: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, width) of the layer whose [CLS] is the page's meaning, and of the last."""
        trunk = self.scorer.trunk
        at = max(len(trunk.layers) - 1 - LATE, 0)
        for n, hidden in enumerate(trunk.states(ids, mask, segments)):
            if n == at:
                late = hidden
        return late, hidden


class Pages(Windower):
    """Cuts pages into windows: [CLS] question [SEP] clue … [SEP] title. text [SEP]."""

    def pages(self, question: Sequence[str], inputs: Sequence[PageInput]) -> list[ReaderWindow]:
        """All windows of all pages, in order; ``ReaderWindow.row`` says whose."""
        asked = [self._question(one) for one in self._encode(question)]
        titles = [one.ids[:TITLE_TOKENS] for one in self._encode([_titled(page_input) for page_input in inputs])]
        found = []
        for row, (page_input, body) in enumerate(
            zip(inputs, self._encode([page_input.passage.text for page_input in inputs]), strict=True)
        ):
            clues = [[*clue.ids[:CLUE_TOKENS], self.sep] for clue in self._encode(page_input.clues)]
            kept = page_input.fitting([len(clue) for clue in clues], min(CLUES_TOKENS, self.window // 2))
            context = [*(token for n in kept for token in clues[n]), *titles[row]]
            found.extend(self._cut(row, [self.cls, *asked[row], self.sep], context, body))
        return found


def _titled(page_input: PageInput) -> str:
    passage = page_input.passage
    parts = [passage.title, *passage.headings, passage.context]
    context = ". ".join(part for n, part in enumerate(parts) if part and part not in parts[:n])
    return f"{context}." if context else ""


class Pointers:
    """The trained System 1; keeps ``System1``'s protocol."""

    trained = True

    def __init__(self, model: PointerNet) -> None:
        config = model.scorer.config
        self.model, self.config = model.eval(), config
        self.width = model.scorer.trunk.config.hidden_size
        self.windower = Pages(load_tokenizer(resolve(config.base)), window=config.window, stride=config.stride)

    @classmethod
    def load(cls, folder: Path) -> Pointers:
        """The weights in ``folder``, bfloat16 products where they are faster."""
        model = PointerNet.load(folder)
        if bfloat16_is_faster():
            model.scorer.trunk.to_bfloat16()
        return cls(model)

    def read_pages(self, question: str, pages: Sequence[PageInput]) -> list[PageReading]:
        """See ``System1.look``."""
        windows = self.windower.pages([question] * len(pages), pages)
        places = [sentences(page.passage.text) for page in pages]
        parts: list[list[PageReading]] = [[] for _ in pages]
        for batch in by_length(windows, tokens=BATCH_TOKENS):
            ids, mask, segments, body = collate(batch)
            with torch.inference_mode():
                made = self.model(ids, mask, segments, body)
            for n, window in enumerate(batch):
                page = pages[window.row]
                parts[window.row].append(self._page_reading(page, places[window.row], window, made, n))
        return [_joined(some, page_input, found) for some, page_input, found in zip(parts, pages, places, strict=True)]

    def _page_reading(
        self, page: PageInput, places: list[tuple[int, int]], window: ReaderWindow, made: Pointed, n: int
    ) -> PageReading:
        odds = (made.spans[n] - made.null[n]) / self.config.temperature
        spans, mass = best_spans(window, odds)
        return PageReading(
            hops=decode_hops(page, places, window, made.hop_start[n], made.hop_end[n]),
            below_threshold=decode_hops(page, places, window, made.hop_start[n], made.hop_end[n], lowered=LOWERED),
            spans=tuple(Span(0, start, end, value) for start, end, value in spans),
            log_mass=mass,
            sentences=tuple(places),
            support=tuple(sentence_support(window, made.support[n], places).sigmoid().nan_to_num(0.0).tolist()),
            meaning=np.asarray(made.meaning[n].numpy(), np.float32),
        )


def decode_hops(
    page: PageInput,
    places: list[tuple[int, int]],
    window: ReaderWindow,
    start: Tensor,
    end: Tensor,
    *,
    lowered: float = 0.0,
) -> tuple[Hop, ...]:
    """The best hops that start above the page's threshold: first and last token in one sentence, one hop a name.

    Args:
        page: the passage the window was cut from.
        places: (start, end) characters of its sentences.
        start, end: (tokens,) logits; [0] is [CLS], whose start logit is the threshold.
        lowered: logits taken from the threshold.
    """
    threshold = float(start[0]) - lowered
    firsts = [int(t) for t in torch.nonzero(start > threshold).flatten() if t > 0 and window.owned[int(t)]]
    own = {name_key(page.passage.title), *(name_key(heading) for heading in page.passage.headings)}
    hops = []
    for first in firsts:
        number = sentence_at(places, int(window.offsets[first, 0]))
        lasts = [
            last
            for last in range(first, min(first + HOP_TOKENS, len(window.ids)))
            if window.body[last] and number is not None and int(window.offsets[last, 1]) <= places[number][1]
        ]
        if not lasts:
            continue
        last = max(lasts, key=lambda t: (float(end[t]), -t))
        begin, stop = whole_words(page.passage.text, int(window.offsets[first, 0]), int(window.offsets[last, 1]))
        key = name_key(page.passage.text[begin:stop])
        score = float(torch.sigmoid(start[first] - start[0]))
        if key and key not in own:
            hops.append(Hop(begin, stop, score))
    return best_hops(page.passage.text, hops)


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The span widened to the words it begins and ends in: a pointer may hit a part of a word."""
    while start > 0 and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
    while end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    return start, end


def sentence_support(window: ReaderWindow, logits: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
    """(sentences,) the mean logit of each sentence's tokens in this window; −inf for one that has none in it."""
    starts = torch.from_numpy(window.offsets[:, 0])
    inside = torch.from_numpy(window.body)
    scores = []
    for begin, end in places:
        mine = inside & (starts >= begin) & (starts < end)
        scores.append(logits[: len(mine)][mine].mean() if mine.any() else logits.new_tensor(-torch.inf))
    return torch.stack(scores) if scores else logits.new_zeros(0)


def _joined(parts: Sequence[PageReading], page_input: PageInput, places: Sequence[tuple[int, int]]) -> PageReading:
    """The windows of one passage as one reading: the best hops, all spans, each sentence's best score."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        hops=best_hops(page_input.passage.text, [hop for part in parts for hop in part.hops]),
        below_threshold=best_hops(page_input.passage.text, [hop for part in parts for hop in part.below_threshold]),
        spans=tuple(span for part in parts for span in part.spans),
        log_mass=log_sum([part.log_mass for part in parts]),
        support=tuple(max(part.support[n] for part in parts) for n in range(len(places))),
        meaning=_mean([part.meaning for part in parts if part.meaning is not None]),
    )


def _mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(vectors, axis=0), np.float32)
