"""Block scorers that need no training: by words (BM25), and by meaning (an encoder)."""

from __future__ import annotations

from collections.abc import Sequence

from memptm.encoders.base import Encoder, Keys
from memptm.memory.lexical import BM25, MOST_TERMS, terms
from memptm.progress import Event, Progress, silent

NO_WORD = 0.01  # score of a block that holds none of the question's words
_ENCODED = 1024  # blocks between two reports of progress


class LexicalScorer:
    """BM25 (Robertson and Zaragoza 2009) of a text's blocks; scores s as (s + 0.01) / (s + 1)."""

    def score(self, question: str, texts: Sequence[str]) -> LexicalScores:
        """The scores of a text's blocks, computed as they are asked for."""
        return LexicalScores(question, texts)


class LexicalScores:
    """One text's blocks; a kept block adds its own terms to the question's, at half their weight."""

    def __init__(self, question: str, texts: Sequence[str]) -> None:
        self._texts, self._bm25 = texts, BM25(texts)
        self._asked = dict.fromkeys(list(dict.fromkeys(terms(question)))[:MOST_TERMS], 1.0)
        self._bm25.count(self._asked)

    def coarse(self, blocks: Sequence[int], kept: Sequence[int] = (), *, progress: Progress = silent) -> list[float]:
        """BM25 of each."""
        asked = self._with(kept)
        scores = [_squashed(self._bm25.score(n, asked)) for n in blocks]
        progress(Event(stage="judge", done=len(blocks), total=len(blocks), unit="blocks"))
        return scores

    def fine(self, blocks: Sequence[int]) -> list[float]:
        """Each beside the others."""
        self._with(blocks)  # counts their terms at once
        return [self.coarse([n], [m for m in blocks if m != n])[0] for n in blocks]

    def _with(self, kept: Sequence[int]) -> dict[str, float]:
        added = dict.fromkeys((term for n in kept for term in terms(self._texts[n])), 0.5 / max(len(kept), 1))
        self._bm25.count(added)
        return {**added, **self._asked}


class EmbeddingScorer:
    """Cosine of a question and the blocks of a text, from −1…1 to 0…1. The keys of the last text are kept."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._texts: list[str] = []
        self._keys: dict[int, Keys] = {}

    def score(self, question: str, texts: Sequence[str]) -> EmbeddingScores:
        """The scores of a text's blocks, computed as they are asked for."""
        if list(texts) != self._texts:
            self._texts, self._keys = list(texts), {}
        return EmbeddingScores(self.encoder, question, self._texts, self._keys)


class EmbeddingScores:
    """One text's blocks and their keys, made as they are asked for; beside kept blocks, the question is written with them."""

    def __init__(self, encoder: Encoder, question: str, texts: Sequence[str], keys: dict[int, Keys]) -> None:
        self.encoder, self.question, self._texts, self._keys = encoder, question, texts, keys
        self._query = encoder.encode_questions([question])[0]

    def coarse(self, blocks: Sequence[int], kept: Sequence[int] = (), *, progress: Progress = silent) -> list[float]:
        """The mean of the cosine with the question, and with the question and what is kept."""
        self._encode(blocks, progress)
        query = self._query
        if kept:
            written = "\n".join([self.question, *(self._texts[n] for n in kept)])
            query = (query + self.encoder.encode_questions([written])[0]) / 2
        return [(1 + float(query @ self._keys[n])) / 2 for n in blocks]

    def fine(self, blocks: Sequence[int]) -> list[float]:
        """As coarse: an embedding does not read blocks together."""
        return self.coarse(blocks)

    def _encode(self, blocks: Sequence[int], progress: Progress) -> None:
        new = [n for n in blocks if n not in self._keys]
        for start in range(0, len(new), _ENCODED):
            some = new[start : start + _ENCODED]
            self._keys.update(zip(some, self.encoder.encode_passages([self._texts[n] for n in some]), strict=True))
            progress(Event(stage="judge", done=start + len(some), total=len(new), unit="blocks"))


def _squashed(score: float) -> float:
    """Into (0, 1); one that no word is found in is not impossible."""
    return (score + NO_WORD) / (score + 1)
