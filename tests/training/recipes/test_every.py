"""What holds for a run of any recipe: it knows what it is of, and it replaces nothing that it did not make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from memptm import Document, Memory
from memptm.errors import InputError
from tests.training.recipes.every import OUTPUTS, RECIPES, STEPS, Every, new_steps

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Every:
    return Every(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module")
def runs(every, tmp_path_factory):
    """The folder of a finished run of each recipe: read it, or copy it; and what the run gave."""
    made = {}

    def run_of(recipe):
        if recipe not in made:
            out = tmp_path_factory.mktemp("runs") / recipe
            made[recipe] = out, every.train(recipe, out)
        return made[recipe]

    return run_of


def files_of(folder: Path) -> dict[str, bytes]:
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("other", "said"), [("data", "another data set"), ("start", "to start from"), ("settings", "another")]
)
def test_a_run_of_other_data_weights_or_settings_is_refused_and_nothing_is_touched(every, runs, recipe, other, said):
    if (recipe, other) == ("lm", "start"):
        return  # it starts from nothing
    out, _ = runs(recipe)
    before = files_of(out)
    with pytest.raises(InputError, match=f"{said}.* Give another --out"):
        every.train(recipe, out, other=other)
    assert files_of(out) == before


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_finished_run_says_so_takes_no_step_and_has_its_real_loss(every, runs, recipe):
    out, first = runs(recipe)
    assert sum(new_steps(first)) > 0
    assert "note" not in first
    again = every.train(recipe, out)
    assert not any(new_steps(again))
    assert "was finished" in again["note"]
    loss = [one["loss"] for one in (again.get("phases") or {"": again}).values()]
    assert loss == [one["loss"] for one in (first.get("phases") or {"": first}).values()]
    assert all(one > 0 for one in loss)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_finished_run_takes_more_steps_and_goes_on_from_where_it_was(every, runs, recipe, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(runs(recipe)[0], out)
    before = {log: log.read_text(encoding="utf-8").splitlines() for log in out.rglob("log.jsonl")}
    longer = every.train(recipe, out, steps=STEPS + 1)
    phases = longer.get("phases") or {"": longer}
    assert all(one["steps"] in (STEPS + 1, 2 * STEPS + 2) for one in phases.values())
    first = next(iter(phases.values()))
    anew = STEPS + 1 if recipe == "graph" else 0  # its second stage then starts from other weights
    assert first["new_steps"] == 1 + anew
    for log, lines in before.items():
        now = log.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["step"] for line in now] == list(range(1, STEPS + 2))
        if log.parent.name not in ("both", "memory"):
            assert now[:STEPS] == lines
    with pytest.raises(InputError, match=f"has {STEPS + 1} steps behind it, and {STEPS} were asked for"):
        every.train(recipe, out)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_stands_in_the_way_and_is_not_the_runs_is_left_and_refused(every, recipe, tmp_path):
    for n, name in enumerate(("log.jsonl", "checkpoint.safetensors", *OUTPUTS[recipe])):
        out = tmp_path / str(n)
        out.mkdir()
        (out / "notes.txt").write_text("mine", encoding="utf-8")
        if "." in name:
            (out / name).write_text("mine", encoding="utf-8")
        else:
            (out / name).mkdir()
            (out / name / "letter.txt").write_text("mine", encoding="utf-8")
        before = files_of(out)
        with pytest.raises(InputError, match=f"{name}.* Give another --out"):
            every.train(recipe, out)
        assert files_of(out) == before


@pytest.mark.parametrize("recipe", RECIPES)
def test_files_of_the_user_beside_the_runs_stay(every, recipe, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "letter.txt").write_text("mine", encoding="utf-8")
    every.train(recipe, tmp_path)
    assert (tmp_path / "notes" / "letter.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_index_is_no_folder_for_a_run(every, recipe, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(every.indexes[0], index)
    before = files_of(index)
    with pytest.raises(InputError, match="is an index"):
        every.train(recipe, index)
    (tmp_path / "link").symlink_to(index, target_is_directory=True)
    with pytest.raises(InputError, match="is an index"):
        every.train(recipe, tmp_path / "link")
    assert files_of(index) == before


@pytest.mark.parametrize("recipe", ["realm", "encoder"])
def test_the_index_that_is_trained_on_is_never_the_one_that_is_replaced(every, recipe, tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    shutil.copytree(every.indexes[0], out / "index")
    (tmp_path / "link").symlink_to(out / "index", target_is_directory=True)
    before = files_of(out / "index")
    for place in (out / "index", tmp_path / "link"):
        monkeypatch.setattr(every, "indexes", [place, place])
        with pytest.raises(InputError, match="Give another --out"):
            every.train(recipe, out)
    assert files_of(out / "index") == before


@pytest.mark.parametrize("recipe", ["realm", "encoder"])
def test_an_index_that_was_put_or_grown_in_a_runs_folder_is_left_when_the_run_is_given_more_steps(
    every, runs, recipe, tmp_path
):
    grown, put, linked = (tmp_path / name for name in ("grown", "put", "linked"))
    for out in (grown, put, linked):
        shutil.copytree(runs(recipe)[0], out)
    with Memory.open(grown / "index") as memory:
        memory.add([Document(text="A heron came later.", id="heron")])
    shutil.rmtree(put / "index")
    shutil.copytree(every.indexes[1], put / "index")
    (linked / "index").rename(tmp_path / "elsewhere")
    (linked / "index").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for out, said in ((grown, "holds passages that"), (put, "did not make"), (linked, "is a link")):
        held = len(Memory.open(out / "index"))
        with pytest.raises(InputError, match=said):
            every.train(recipe, out, steps=STEPS + 1)
        assert len(Memory.open(out / "index")) == held


@pytest.mark.parametrize(("recipe", "folder"), [("rag", "encoder"), ("rag", "generator"), ("encoder", "encoder")])
def test_a_file_of_the_user_in_a_folder_that_the_run_would_replace_stops_it(every, runs, recipe, folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(runs(recipe)[0], out)
    (out / folder / "letter.txt").write_text("mine", encoding="utf-8")
    before = files_of(out)
    with pytest.raises(InputError, match=r"letter\.txt was not made by this run"):
        every.train(recipe, out, steps=STEPS + 1)
    assert files_of(out) == before


def test_another_recipes_run_is_refused_and_one_that_never_began_is_not(every, runs, tmp_path):
    out, _ = runs("reader")
    before = files_of(out)
    with pytest.raises(InputError, match=r"holds a run of memptm train reader\. Give another --out"):
        every.train("recall", out)
    assert files_of(out) == before
    (tmp_path / "out").mkdir()
    shutil.copy(out / "run.json", tmp_path / "out" / "run.json")
    every.train("recall", tmp_path / "out")


def test_a_checkpoint_of_an_older_memptm_is_refused_in_words(every, runs, tmp_path):
    from safetensors.torch import load_file, save_file

    checkpoint = runs("recall")[0] / "checkpoint.safetensors"
    note = json.dumps({"step": 2, "settings": {}})
    save_file(load_file(checkpoint), tmp_path / "checkpoint.safetensors", metadata={"memptm": note})
    with pytest.raises(InputError, match=r"checkpoint of an older memptm.* Its weights can be used"):
        every.train("recall", tmp_path)
