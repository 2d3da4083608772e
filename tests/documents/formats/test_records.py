"""Records and conversations, a line each."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memptm.documents.decode import clean
from memptm.documents.load import Refused, load
from memptm.documents.split import split

TIMES = ["1:56 pm on 8 May, 2023", "25:99 on 8 May, 2023", "teatime", ""]


def loaded(path, text):
    path.write_text(text, encoding="utf-8")
    warnings = []
    return list(load(path, warn=warnings.append)), warnings


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.jsonl"


def test_a_line_is_a_document(path):
    line = {"id": 7, "title": "Fern", "text": "It grows.\r\nHere.", "source": "book", "metadata": {"kind": "fern"}}
    (document,), _ = loaded(path, json.dumps(line))
    assert (document.id, document.title, document.text, document.source) == ("7", "Fern", "It grows.\r\nHere.", "book")
    assert document.metadata == {"kind": "fern"}


def test_blank_lines_are_passed_over_and_a_broken_one_is_named_by_its_true_number(path):  # F05
    documents, warnings = loaded(path, '{"text":"one"}\n\n   \n{"text":"two"}\n{oops\n{"text": "six"}')
    assert [(document.id, document.text) for document in documents] == [("1", "one"), ("4", "two"), ("6", "six")]
    assert len(warnings) == 1
    assert f"{path} line 5: not JSON" in warnings[0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1]", "not an object"),
        ('{"title": "x"}', 'no "text"'),
        ('{"text": 5}', "not a string"),
        ('{"text": "  "}', "empty"),
        ("[" * 100_000, "nested"),
    ],
)
def test_a_line_that_is_no_document_says_why(path, line, why):
    documents, warnings = loaded(path, f'{{"text": "good"}}\n{line}\n')
    assert len(documents) == 1
    assert "line 2" in warnings[0]
    assert why in warnings[0]


@pytest.mark.parametrize("metadata", ['["red", "blue"]', '"red"', "5", "false", "[]"])
def test_metadata_that_is_no_object_costs_no_text(path, metadata):  # A12
    documents, warnings = loaded(path, f'{{"text": "one"}}\n{{"text": "two", "metadata": {metadata}}}\n')
    assert [(document.text, document.metadata) for document in documents] == [("one", {}), ("two", {})]
    assert len(warnings) == 1
    assert f'{path} line 2: "metadata" is not an object' in warnings[0]
    path = path.with_suffix(".json")
    documents, warnings = loaded(
        path, f'[{{"text": "one", "metadata": null}}, {{"text": "two", "metadata": {metadata}}}]'
    )
    assert [document.text for document in documents] == ["one", "two"]
    assert [f"{path} record 2" in warning for warning in warnings] == [True]


def test_a_line_that_does_not_decode_is_named(path):
    path.write_bytes(b'{"text": "good"}\n{"text": "\xff\xff"}\n')
    warnings = []
    assert len(list(load(path, warn=warnings.append))) == 1
    assert "line 2" in warnings[0]


def test_a_file_without_any_document_is_refused(path):
    with pytest.raises(Refused, match="no document"):
        loaded(path, "{oops\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings_are_read(path, encoding):
    path.write_text('{"text": "größer"}\n{"text": "zwei"}\n', encoding=encoding)
    assert [document.text for document in load(path, warn=pytest.fail)] == ["größer", "zwei"]


def test_a_lone_surrogate_becomes_the_replacement_character(path):  # F22
    (document,), _ = loaded(path, r'{"text": "a \ud83c b", "title": "\udfff", "metadata": {"k\ud83c": ["\ud83c"]}}')
    assert (document.text, document.title) == ("a \ufffd b", "\ufffd")
    assert document.metadata == {"k\ufffd": ["\ufffd"]}


def test_a_pair_of_surrogates_is_a_letter(path):
    (document,), _ = loaded(path, r'{"text": "\ud83d\ude42"}')
    assert document.text == "🙂"


def test_a_json_list_of_records_is_read_as_such_and_other_json_as_text(tmp_path):
    documents, warnings = loaded(tmp_path / "a.json", '[{"text": "one"}, 5, {"text": "two", "id": "b"}]')
    assert [(document.id, document.text) for document in documents] == [("1", "one"), ("b", "two")]
    assert "record 2" in warnings[0]
    (document,), _ = loaded(tmp_path / "b.json", '{"size": 5}')
    assert document.text == '{"size": 5}'


def test_a_conversation_is_a_document_and_a_turn_a_passage(path):
    turns = [
        {"conversation": "c1", "id": "D1:1", "speaker": "Ann", "time": "8 May 2023", "text": "I saw\n a heron."},
        {"conversation": "c2", "id": "D1:1", "speaker": "Bo", "time": "9 May 2023", "text": "Hello."},
        {"conversation": "c1", "id": "D1:2", "speaker": "Bo", "time": "8 May 2023", "text": "Where?"},
    ]
    documents, _ = loaded(path, "\n".join(map(json.dumps, turns)))
    assert [document.id for document in documents] == ["c1", "c2"]
    assert documents[0].text == "Ann: I saw a heron.\nBo: Where?"
    passages = split(documents[0])
    assert [(p.id, p.text, p.context) for p in passages] == [
        ("D1:1", "Ann: I saw a heron.", "8 May 2023"),
        ("D1:2", "Bo: Where?", "8 May 2023"),
    ]
    assert passages[0].metadata == {
        "conversation": "c1",
        "speaker": "Ann",
        "time": "2023-05-08",
        "time_text": "8 May 2023",
    }


def test_times_that_do_not_parse_are_kept_as_text_with_one_warning(path):
    turns = [{"conversation": "c", "id": str(n), "time": time, "text": "Hi."} for n, time in enumerate(TIMES)]
    (document,), warnings = loaded(path, "\n".join(map(json.dumps, turns)))
    assert [block.metadata.get("time") for block in document.blocks] == ["2023-05-08T13:56:00", None, None, None]
    assert [block.context for block in document.blocks] == [*TIMES[:3], ""]
    assert [block.metadata.get("time_text") for block in document.blocks] == [*TIMES[:3], None]
    assert len(warnings) == 1
    assert "2 turns have times" in warnings[0]
    assert "'25:99 on 8 May, 2023', turn 1" in warnings[0]


def test_an_empty_turn_is_named_and_the_others_go_in(path):
    turns = [{"conversation": "c", "id": str(n), "speaker": "Ann", "text": text} for n, text in enumerate(("Hi.", " "))]
    (document,), warnings = loaded(path, "\n".join(map(json.dumps, turns)))
    assert document.text == "Ann: Hi."
    assert "line 2" in warnings[0]
    assert "empty" in warnings[0]


def test_fields_of_other_names_are_metadata(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One.", "topic": "boats", "year": 1964, "metadata": {"year": 1965}}\n')
    (document,) = load(tmp_path / "a.jsonl", warn=pytest.fail)
    assert document.metadata == {"topic": "boats", "year": 1965}


BREAKS = ["\n", "\r\n", "\r"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.text(min_size=1), st.sampled_from(BREAKS), st.integers(0, 2)), min_size=1, max_size=5),
    st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]),
    st.booleans(),
)
def test_records_put_together_from_files_of_any_system_are_all_read(path, records, encoding, raw):
    """Each may begin with byte-order marks and hold what JSON wants escaped but a line end."""
    lines = []
    for text, end, marks in records:
        line = json.dumps({"text": f"a{text}"}, ensure_ascii=not raw or not text.isprintable())
        lines.append("\ufeff" * marks + (line.replace("\\t", "\t").replace("\\f", "\f") if raw else line) + end)
    mark = {"utf-8": b"", "utf-16-le": codecs.BOM_UTF16_LE, "utf-32-be": codecs.BOM_UTF32_BE}[encoding]
    path.write_bytes(mark + "".join(lines).encode(encoding))
    assert [one.text for one in load(path, warn=pytest.fail)] == [f"a{clean(text)}" for text, _, _ in records]


@pytest.mark.parametrize("text", ["\u200b\u2060\ufeff", ",,,\n,,,", " … ", "-- ?!"])
def test_a_record_without_a_letter_or_a_digit_is_no_document(path, text):
    documents, warnings = loaded(path, json.dumps({"text": "🙂"}) + "\n" + json.dumps({"text": text}))
    assert [one.text for one in documents] == ["🙂"]
    assert "line 2" in warnings[0]


def test_objects_within_objects_are_columns_of_a_table(tmp_path):
    crew = [
        {"id": 7, "who": {"name": "Ida Lund", "at": {"shed": 3}}, "tasks": ["oil", "rope"], "paid": True},
        {"id": 8, "who": {"name": "Tor Vik"}, "tasks": [], "paid": False},
    ]
    (document,), warnings = loaded(tmp_path / "crew.json", json.dumps(crew))
    rows = [document.text[block.start : block.end] for block in document.blocks]
    assert rows == [
        "id: 7; who.name: Ida Lund; who.at.shed: 3; tasks: oil, rope; paid: yes",
        "id: 8; who.name: Tor Vik; paid: no",
    ]
    assert [block.metadata["row"] for block in document.blocks] == [1, 2]
    assert warnings == []


def deep(levels):
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": [{"b": 1}]}, {"a": []}],
        [deep(30), deep(30)],
        [{f"key {n}": n} for n in range(300)],
    ],
    ids=["lists of objects", "deep", "names that are data"],
)
def test_json_that_is_no_table_stands_as_it_is(tmp_path, rows):
    (document,), _ = loaded(tmp_path / "a.json", json.dumps(rows))
    assert (document.text, document.blocks) == (json.dumps(rows), ())
