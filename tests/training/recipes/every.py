"""Each recipe as one call that takes other data, other start weights, other settings, or more steps: laws for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memptm import Document, Memory
from memptm.encoders.adapted import MemorySizes
from memptm.training.recipes.cognitive_graph import GraphRecipe, train_graph
from memptm.training.recipes.encoder import EncoderRecipe, train_encoder
from memptm.training.recipes.generator import GeneratorRecipe, train_generator
from memptm.training.recipes.language_model import LanguageModelRecipe, sizes, train_language_model
from memptm.training.recipes.rag import RagRecipe, train_rag
from memptm.training.recipes.reader import ReaderRecipe, train_reader
from memptm.training.recipes.realm import RealmRecipe, train_realm
from memptm.training.recipes.recall import RecallRecipe, train_recall
from tests.encoders import tiny as encoders
from tests.generation import tiny as generators
from tests.generation import tiny_reader
from tests.memory.toy import Toy

PLACES = ["oslo", "bern", "rome", "riga", "kiel", "lyon"]
RECIPES = ("reader", "generator", "rag", "realm", "lm", "recall", "graph", "encoder")
STEPS = 2
OUTPUTS = {  # what of OUT is the result
    "reader": ("model.safetensors",),
    "generator": ("adapter_model.safetensors",),
    "rag": ("encoder", "generator"),
    "realm": ("index", "questions"),
    "lm": ("model.safetensors", "tokenizer.json"),
    "recall": ("model.safetensors", "first_scores.safetensors"),
    "graph": ("system1.safetensors", "both"),
    "encoder": ("index", "encoder", "adapt"),
}


class Every:
    """``train(recipe, out)`` with ``other``: which of "data", "start", "settings" is another; ``steps`` of each phase."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readers = [tiny_reader.reader(folder / f"reader{n}", seed=n + 1) for n in range(2)]
        self.generators = [
            str(generators.causal(folder / f"generator{n}", template=generators.TEMPLATE, seed=n)) for n in range(2)
        ]
        self.indexes = [self._index(n) for n in range(2)]

    def train(self, recipe: str, out: Path, *, other: str = "", steps: int = STEPS) -> dict[str, Any]:
        trained: Callable[..., dict[str, Any]] = getattr(self, f"_{recipe}")
        return trained(out, int(other == "data"), int(other == "start"), int(other == "settings"), steps)

    def memory(self, n: int = 0) -> Memory:
        return Memory.open(self.indexes[n])

    def rows(self, n: int) -> list[dict[str, Any]]:
        """As many rows, of which one has another answer where ``n`` is 1."""
        texts = [f"ada lives in {place} . ben lives in {place} a ." for place in PLACES]
        rows = [
            {"question": f"who lives in {p} ?", "context": t, "answers": ["ada"]}
            for p, t in zip(PLACES, texts, strict=True)
        ]
        if n:
            rows[3]["answers"] = ["ben"]
        return rows

    def _written(self, name: str, rows: list[dict[str, Any]]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def _questions(self, n: int) -> list[Path]:
        return [self._written(f"questions{n}", self.rows(n))]

    def _index(self, n: int) -> Path:
        encoder = encoders.encoder(self.folder / f"encoder{n}", seed=n)
        path = self.folder / f"index{n}"
        with Memory.open(path, create=True, encoder=str(encoder.folder)) as memory:
            memory.add([Document(text=row["context"], id=f"{m}") for m, row in enumerate(self.rows(0))])
            memory.add(
                [
                    Document(text=" ".join(f"{place} {n} is far away ." for n in range(99)), id=place)
                    for place in PLACES[:2]
                ]
            )
        return path

    def _reader(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = ReaderRecipe(batch_tokens=64, epochs=9, steps=steps, save_every=1, negatives=0.1 * settings)
        return train_reader(self._questions(data), out, start=self.readers[start], recipe=recipe, encoder=Toy())

    def _generator(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = GeneratorRecipe(layers=None, rank=2 + settings, batch_tokens=256, window=200, epochs=9, steps=steps)
        return train_generator(self._questions(data), out, start=self.generators[start], recipe=recipe, encoder=Toy())

    def _rag(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = RagRecipe(losses=("contrast", "marginal"), batch=3, judged=1, k=2 + settings, epochs=9, steps=steps)
        memory, generator = self.memory(start), self.generators[0]
        return train_rag(self._questions(data), memory, out, generator=generator, recipe=recipe)

    def _realm(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = RealmRecipe(
            phases=("questions",),
            pairs=2,
            hard=1,
            epochs=9,
            steps=steps,
            k=2,
            dropout=0.1 * settings,
            refresh_every=1,
            save_every=1,
        )
        return train_realm(self._questions(data), self.memory(start), out, recipe=recipe)

    def _lm(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        path = self.folder / f"text{data}.txt"
        path.write_text(f"the otter {'swims' if data else 'sleeps'} under the green kelp . " * 40, encoding="utf-8")
        model = sizes(width=16, layers=1, memory=4 + settings)
        recipe = LanguageModelRecipe(model=model, size=300, rows=2, segment=8, epochs=9, steps=steps)
        return train_language_model([path], out, recipe=recipe)

    def _recall(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = RecallRecipe(batch=2, rank=2 + settings, epochs=9, steps=steps)
        return train_recall(self._questions(data), out, start=self.readers[start], recipe=recipe)

    def _graph(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        rows = [
            {
                "id": place, "question": f"where does the tower of {place} live ?", "answer": "bern" if data and not n else "rome",
                "supporting_facts": [["Tower", 0], ["Ada", 0]],
                "context": [["Tower", [f"Ada built the Tower in {place}."]], ["Ada", ["Ada lives in rome or bern."]]],
            }
            for n, place in enumerate(PLACES)
        ]  # fmt: skip
        recipe = GraphRecipe(epochs=9, both=9, batch=2, negatives=settings, steps=steps, nodes=2)
        return train_graph(
            [self._written(f"graph{data}", rows)], out, start=self.readers[start], recipe=recipe, encoder=Toy()
        )

    def _encoder(self, out: Path, data: int, start: int, settings: int, steps: int) -> dict[str, Any]:
        recipe = EncoderRecipe(
            rank=2 + settings,
            pairs=2,
            hard=1,
            tokens=60,
            span=2,
            memory=MemorySizes(rank=2),
            steps=steps,
            memory_steps=steps,
        )
        return train_encoder(self._questions(data), self.memory(start), out, recipe=recipe)


def new_steps(result: dict[str, Any]) -> list[int]:
    """Of the result, or of each of its phases."""
    return [one["new_steps"] for one in result["phases"].values()] if "phases" in result else [result["new_steps"]]
