"""Clock times as ISO 8601, and relative dates against the time they were said."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.documents.times import day, fields, iso, meant, resolve

MONDAY = "2023-05-08T13:56:00"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1:56 pm on 8 May, 2023", "2023-05-08T13:56:00"),
        ("12:00 am on 8 May, 2023", "2023-05-08T00:00:00"),
        ("8 May 2023", "2023-05-08"),
        (" May 8th, 2023 ", "2023-05-08"),
        ("2023-05-08T13:56:00+02:00", "2023-05-08T13:56:00+02:00"),
        ("2023-05-08 13:56", "2023-05-08T13:56:00"),
        ("2023-05", "2023-05"),
        ("2023", "2023"),
        ("25:99 on 8 May, 2023", None),
        ("30 February 2023", None),
        ("2023-13", None),
        ("May", None),
        ("yesterday", None),
        ("Blursday", None),
        ("5", None),
        ("", None),
        ("8 May 2023 " * 50, None),
    ],
)
def test_a_time_becomes_iso_or_is_none(written, expected):
    assert iso(written) == expected


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2199, 12, 31)))
@settings(max_examples=50, deadline=None)
def test_a_date_as_we_write_it_is_read_as_itself(one):
    assert iso(day(one)) == iso(one.isoformat()) == one.isoformat()


def test_a_time_that_does_not_parse_is_kept_as_text_alone():
    assert fields("teatime") == {"time_text": "teatime"}
    assert fields("8 May 2023") == {"time": "2023-05-08", "time_text": "8 May 2023"}
    assert fields("  ") == {}


@pytest.mark.parametrize(
    ("said", "iso8601", "words"),
    [
        ("I went yesterday.", "2023-05-07", "7 May 2023"),
        ("Last night it rained", "2023-05-07", "7 May 2023"),
        ("the day before yesterday", "2023-05-06", "6 May 2023"),
        ("this morning", "2023-05-08", "8 May 2023"),
        ("tomorrow", "2023-05-09", "9 May 2023"),
        ("10 days ago", "2023-04-28", "28 April 2023"),
        ("last Friday", "2023-05-05", "5 May 2023"),
        ("next Saturday", "2023-05-13", "13 May 2023"),
        ("in three days", "2023-05-11", "11 May 2023"),
        ("last week", "2023-W18", "the week of 1 May 2023"),
        ("two weeks ago", "2023-W17", "the week of 24 April 2023"),
        ("last weekend", "2023-05-06/2023-05-07", "the weekend of 6 May 2023"),
        ("this weekend", "2023-05-13/2023-05-14", "the weekend of 13 May 2023"),
        ("last month", "2023-04", "April 2023"),
        ("a year ago", "2022", "2022"),
        ("next year", "2024", "2024"),
    ],
)
def test_a_relative_date_is_what_it_meant_when_it_was_said(said, iso8601, words):
    found = resolve(said, MONDAY)
    assert (found.iso, found.words) == (iso8601, words)
    assert found.said.lower() in said.lower()


def test_on_a_sunday_last_weekend_is_not_the_one_that_ends():
    sunday = "2023-05-07T20:00:00"
    assert resolve("last weekend", sunday).iso == "2023-04-29/2023-04-30"
    assert resolve("this weekend", sunday).iso == "2023-05-06/2023-05-07"


@pytest.mark.parametrize("vague", ["a few days ago", "on Friday", "long ago", "the yesterdays", "8 May 2023", ""])
def test_what_is_vague_or_not_relative_is_left(vague):
    assert resolve(vague, MONDAY) is None


@given(st.dates(min_value=date(1970, 1, 10), max_value=date(2100, 1, 1)), st.integers(2, 400))
@settings(max_examples=50, deadline=None)
def test_days_ago_are_counted_back_over_months_and_leap_years(today, days):
    assert resolve(f"{days} days ago", today.isoformat()).iso == (today - timedelta(days=days)).isoformat()


def test_a_passage_without_a_day_resolves_nothing():
    assert meant("yesterday", {}) is None
    assert meant("yesterday", {"time": "2023"}) is None
    assert meant("yesterday", {"time": "2023-05-08"}).iso == "2023-05-07"


@pytest.mark.parametrize("said", ["2023-05-07 10:00 UTC", "2023-05-07 approx", "2023-13-45", "2023-05-07\0"])
@pytest.mark.parametrize("words", ["yesterday", "last weekend", "two weeks ago"])
def test_a_time_that_is_none_gives_no_date(words, said):
    assert resolve(words, said) is None
    assert meant(words, {"time": said}) is None


@pytest.mark.parametrize(("words", "said"), [("last weekend", "0001-01-01"), ("next weekend", "9999-12-31")])
def test_a_date_beyond_the_calendar_is_none(words, said):
    assert resolve(words, said) is None
