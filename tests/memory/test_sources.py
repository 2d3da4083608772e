"""What the output shows can be handed back: relative paths, folders, ids with their source, composed and decomposed letters."""

import json
import unicodedata

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from memptm import Document
from memptm.cli.commands import main
from memptm.errors import InputError
from memptm.memory.sources import composed, holds, means, spellings

LETTERS = st.text(st.sampled_from("aoéüñÅก́̈"), min_size=1, max_size=6)


def decomposed(text):
    return unicodedata.normalize("NFD", text)


@given(st.lists(st.tuples(LETTERS, st.sampled_from(["NFC", "NFD"])), min_size=1, max_size=5))
def test_a_path_is_found_however_each_of_its_names_is_composed(names):
    stored = "/" + "/".join(unicodedata.normalize(form, name) for name, form in names)
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, stored)
        assert stored in spellings(written)
        assert means(written, stored)
        assert holds(unicodedata.normalize(form, stored.rpartition("/")[0]) + "/", stored)


def test_a_folder_holds_what_is_below_it_and_no_neighbour_of_like_name():
    assert holds("notes/trip", "notes/trip/day.md")
    assert not holds("notes/tri", "notes/trip/day.md")
    assert not holds("notes/trip", "notes/trip")
    assert not holds("", "/anything")


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Three files in two folders, whose names are decomposed on the disk."""
    monkeypatch.chdir(tmp_path)
    for folder, name, text in (
        ("Zoë", "plan", "The pond is deep."),
        ("Zoë", "café", "The kettle is new."),
        ("ben", "café", "The stove is old."),
    ):
        (tmp_path / decomposed(folder)).mkdir(exist_ok=True)
        (tmp_path / decomposed(folder) / decomposed(f"{name}.txt")).write_text(text)
    return tmp_path


@pytest.mark.parametrize("form", [composed, decomposed])
def test_a_relative_path_as_shown_is_a_filter(memory, notes, form):
    memory.add(notes)
    texts = lambda where: [one.text for one in memory.passages(where=form(where))]  # noqa: E731
    assert texts("source = 'Zoë/café.txt'") == ["The kettle is new."]
    assert texts("file in ('Zoë/café.txt', 'ben/café.txt')") == ["The kettle is new.", "The stove is old."]
    assert texts("source <> 'Zoë/café.txt' and source like '%café.txt'") == ["The stove is old."]
    assert texts("source like 'Zoë/%'") == ["The kettle is new.", "The pond is deep."]
    assert texts("title = 'plan' or title = 'café' and not source like 'Zoë/%'") == [
        "The pond is deep.",
        "The stove is old.",
    ]


@pytest.mark.parametrize("form", [composed, decomposed])
def test_a_file_and_a_folder_are_removed_as_they_are_shown(memory, notes, form):
    memory.add(notes)
    assert memory.remove(source=form("ben/café.txt")) == 1
    assert memory.remove(source=form("Zoë")) == 2
    assert len(memory) == 0


@pytest.mark.parametrize("stored", [composed, decomposed])
@pytest.mark.parametrize("asked", [composed, decomposed])
def test_metadata_titles_and_ids_are_found_in_either_form(memory, stored, asked):
    memory.add(
        [
            Document(
                text="One.",
                id=stored("ré"),
                source="s",
                title=stored("Über"),
                metadata={stored("größe"): stored("süß")},
            ),
            Document(text="Two.", id="other", source="s"),
        ]
    )
    for where in ("größe = 'süß'", "größe like 's%ß'", "title = 'Über'", "id = 'ré'"):
        assert [one.text for one in memory.passages(where=asked(where))] == ["One."]
    assert memory.remove(ids=[asked("ré")]) == 1
    assert [one.text for one in memory.passages()] == ["Two."]


def test_of_documents_that_share_an_id_the_one_of_the_source_is_removed(memory):
    memory.add([Document(text=f"Text of {name}.", id="7", source=f"day/{name}.jsonl") for name in "abc"])
    with pytest.raises(InputError, match=r"stands in 3 sources \(day/a.jsonl.*--source"):
        memory.remove(ids=["7"])
    with pytest.raises(InputError, match="holds no document or passage with the id 8"):
        memory.remove(ids=["8"], source="day/b.jsonl")
    assert memory.remove(ids=["7"], source="day/b.jsonl") == 1
    assert [one.source for one in memory.passages()] == ["day/a.jsonl", "day/c.jsonl"]


def test_an_empty_source_removes_nothing(memory):
    memory.add(Document(text="One."))
    with pytest.raises(InputError, match="holds nothing of"):
        memory.remove(source="")
    assert len(memory) == 1


def test_the_command_takes_a_source_and_an_id_as_search_shows_them(path, memory, tmp_path):
    for name in "xy":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"The {name} door is red."}) + "\n")
        memory.add(tmp_path / f"{name}.jsonl")
    (hit, *_) = memory.search("y door", mode="lexical")
    shown = hit.to_json()
    command = ["remove", "--index", str(path), "--source", shown["source"], "--id", shown["id"], "--json"]
    run = CliRunner().invoke(main, command)
    assert (run.exit_code, json.loads(run.stdout)) == (0, {"removed": 1})
    assert [one.text for one in memory.passages()] == ["The x door is red."]
    run = CliRunner().invoke(main, ["remove", "--index", str(path)])
    assert run.exit_code == 2
