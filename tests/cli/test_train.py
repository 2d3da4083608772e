"""`memptm train rag`, and the trained encoder where questions are asked."""

import json
import subprocess
import sys
import time
from importlib import import_module

import click
import pytest

from memptm.cli.train import train


@pytest.fixture(scope="module")
def trained(run_memptm, folder, tmp_path_factory):
    """An index of its own, and the folder of a short training on it."""
    place = tmp_path_factory.mktemp("trained")
    assert run_memptm("build", folder, "--index", place / "index").returncode == 0
    rows = [
        {"question": "Who built the lighthouse?", "answers": ["Ada Trent"]},
        {"question": "When does the ghost orchid flower?", "answers": ["July"]},
        {"question": "What is not in the index?", "answers": ["Nothing of it"]},
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = (
        "--index",
        place / "index",
        "--out",
        place / "out",
        "--steps",
        3,
        "-k",
        2,
        "--held-out",
        place / "rows.jsonl",
    )
    return place, run_memptm("train", "rag", place / "rows.jsonl", *options, "--json")


RECIPES = {
    "reader": ("reader", "Reader"),
    "generator": ("generator", "Generator"),
    "rag": ("rag", "Rag"),
    "realm": ("realm", "Realm"),
    "lm": ("language_model", "LanguageModel"),
    "recall": ("recall", "Recall"),
    "graph": ("cognitive_graph", "Graph"),
    "encoder": ("encoder", "Encoder"),
}


@pytest.mark.parametrize(
    ("command", "older"), [("generator", "--base"), ("rag", "--encoder"), ("realm", "--reader"), ("recall", "--reader")]
)
def test_the_weights_a_run_begins_with_are_start_everywhere_and_by_the_older_name_unseen(command, older):
    made = train.commands[command]
    context = click.Context(made)
    (option,) = [one for one in made.params if one.name == "start"]
    assert older in option.opts
    shown = [record[0] for one in made.get_params(context) if (record := one.get_help_record(context))]
    assert [one.split()[0] for one in shown].count("--start") == 1
    assert not [one for one in shown if older in one]


@pytest.mark.parametrize("command", sorted(train.commands))
def test_the_defaults_that_the_help_shows_are_the_recipes(command):
    module, name = RECIPES[command]
    recipe = getattr(import_module(f"memptm.training.recipes.{module}"), f"{name}Recipe")()
    shown = {one.name: one.default for one in train.commands[command].params if getattr(one, "show_default", False)}
    common = [name for name in shown if hasattr(recipe, name) and name not in ("memory", "losses")]
    assert {name: shown[name] for name in common} == {name: getattr(recipe, name) for name in common}
    assert command == "encoder" or "epochs" in common
    assert ("learning_rate" in common) == (command in ("rag", "realm"))


def test_the_result_is_json_and_counts_what_was_skipped(trained):
    _, done = trained
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["steps"], result["examples"], result["skipped"]) == (3, 2, 1)
    assert result["recall"].keys() == result["frozen"].keys() == {"1", "5", "20"}
    assert [row["step"] for row in result["telemetry"]] == [1, 2, 3]


@pytest.mark.parametrize("command", ["search", "query"])
def test_search_and_query_take_the_trained_encoder(run_memptm, trained, command):
    place, _ = trained
    asked = run_memptm(
        command, "Who built the lighthouse?", "--index", place / "index", "--encoder", place / "out/encoder", "--json"
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert "1871" in (found.get("hits") or found["evidence"])[0]["text"]


def test_for_a_person_there_is_a_table(run_memptm, trained):
    place, _ = trained
    options = ("--index", place / "index", "--out", place / "out", "--steps", 3, "-k", 2)
    again = run_memptm("train", "rag", place / "rows.jsonl", *options)  # finished: only what it did is told
    assert again.returncode == 0, again.stderr
    assert again.stdout.split()[:4] == ["step", "loss", "entropy", "distinct"]


def test_what_cannot_be_used_is_one_line_and_code_2(run_memptm, trained):
    place, _ = trained
    for options, said in (
        (("--index", place / "index", "-k", 50), "lower -k"),
        (("--index", place / "nowhere"), "No index"),
        (("--index", place / "index", "--encoder", place / "index"), "encoder"),
    ):
        refused = run_memptm("train", "rag", place / "rows.jsonl", "--out", place / "other", *options)
        assert refused.returncode == 2, refused.stderr
        assert said in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_tokens_are_for_a_generator(run_memptm, trained):
    place, _ = trained
    refused = run_memptm("query", "Who?", "--index", place / "index", "--tokens", place / "tokens")
    assert refused.returncode == 2
    assert "--method generate" in refused.stderr


REALM = ("--masks", "random", "--steps", 2, "-k", 2, "--pairs", 4, "--batch", 2, "--refresh-every", 1)


@pytest.fixture(scope="module")
def realm(run_memptm, trained):
    """What `train realm` makes of the same index without any questions."""
    place, _ = trained
    done = run_memptm("train", "realm", "--index", place / "index", "--out", place / "realm", *REALM, "--json")
    return place, done


def test_realm_learns_from_the_index_alone_and_tells_what_it_made(realm):
    place, done = realm
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["phases"]) == ["ict", "masked"]
    assert result["index"] == str(place / "realm" / "index")
    assert [row["stale"] for row in result["phases"]["masked"]["telemetry"]] == [0, 1]


def test_the_index_it_made_is_queried_like_any_other_and_names_its_encoder(run_memptm, realm):
    place, done = realm
    asked = run_memptm("query", "Who built the lighthouse?", "--index", place / "realm" / "index", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["evidence"]
    info = json.loads(run_memptm("info", "--index", place / "realm" / "index", "--json").stdout)
    assert info["encoder"] == json.loads(done.stdout)["encoder"]


def test_the_encoder_of_one_index_does_not_open_the_other(run_memptm, realm):
    place, done = realm
    encoder = json.loads(done.stdout)["encoder"]
    asked = run_memptm("search", "lighthouse", "--index", place / "index", "--encoder", encoder)
    assert asked.returncode == 2
    assert len(asked.stderr.strip().splitlines()) == 1


def test_any_other_index_can_be_keyed_by_the_encoder_it_made(run_memptm, realm):
    place, done = realm
    encoder = json.loads(done.stdout)["encoder"]
    options = ("--index", place / "index", "--out", place / "keyed")
    made = run_memptm("rekey", *options, "--encoder", encoder, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["encoder"] == encoder
    assert run_memptm("search", "lighthouse", "--index", place / "keyed").returncode == 0
    refused = run_memptm("rekey", *options, "--encoder", "sentence-transformers/all-MiniLM-L6-v2")
    assert refused.returncode == 2
    assert "another encoder" in refused.stderr


@pytest.mark.slow
def test_realm_after_a_kill_goes_on(run_memptm, trained):
    place, _ = trained
    command = (
        "train",
        "realm",
        "--index",
        place / "index",
        "--out",
        place / "killed",
        *REALM[:2],
        "--steps",
        400,
        *REALM[4:],
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "memptm", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = place / "killed" / "masked" / "checkpoint.safetensors"
    for _ in range(1200):
        if log.is_file() or running.poll() is not None:
            break
        time.sleep(0.1)
    running.kill()
    running.wait()
    again = run_memptm(*command, "--json")
    assert again.returncode == 0, again.stderr
    steps = [json.loads(line)["step"] for line in (place / "killed" / "masked" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))
    checked = json.loads(run_memptm("verify", "--index", place / "killed" / "index", "--json").stdout)
    assert checked["ok"]
    assert all(one["ok"] for one in checked["checks"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--phase", "joint"), "DATA.jsonl"),
        (("-k", 400), "lower -k"),
        (("--reader", "nowhere", "--phase", "joint", "ROWS"), "no reader in nowhere"),
    ],
)
def test_what_realm_cannot_use_is_one_line_and_code_2(run_memptm, trained, tmp_path, options, said):
    place, _ = trained
    options = tuple(place / "rows.jsonl" if one == "ROWS" else one for one in options)
    done = run_memptm("train", "realm", "--index", place / "index", "--out", tmp_path / "out", "-k", 2, *options)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


def test_lm_trains_on_text_and_measures_with_other_memory(run_memptm, tmp_path):
    (tmp_path / "text.txt").write_text("The otter swims under the kelp while gulls watch. " * 80, encoding="utf-8")
    options = ("--size", 300, "--width", 16, "--layers", 2, "--memory", 8, "--segment", 8, "--batch", 2, "--steps", 4)
    command = ("train", "lm", tmp_path / "text.txt", "--out", tmp_path / "out", *options)
    measured = ("--held-out", tmp_path / "text.txt", "--at-memory", 0, "--at-memory", 16)
    done = run_memptm(*command, *measured, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["memory"] for one in result["held_out"]] == [0, 16]
    assert (result["steps"], result["tokens"]) == (4, 64)
    told = run_memptm(*command, *measured)
    assert "perplexity" in told.stdout
    words = run_memptm(
        *command[:-2], "--vocabulary", "word", "--external", 20, "--steps", 2, "--out", tmp_path / "words", "--json"
    )
    assert words.returncode == 0, words.stderr


def test_lm_without_text_is_one_line_and_code_2(run_memptm, tmp_path):
    done = run_memptm("train", "lm", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--index" in done.stderr


@pytest.mark.parametrize(("options", "said"), [(("--width", 15), "even --width"), (("--at-memory", 4), "--held-out")])
def test_what_lm_cannot_use_is_one_line_and_code_2(run_memptm, tmp_path, options, said):
    (tmp_path / "text.txt").write_text("The otter swims under the kelp while gulls watch. " * 20, encoding="utf-8")
    sizes = ("--size", 300, "--layers", 1, "--segment", 8, "--batch", 2, "--steps", 1)
    done = run_memptm("train", "lm", tmp_path / "text.txt", "--out", tmp_path / "out", *sizes, *options)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
