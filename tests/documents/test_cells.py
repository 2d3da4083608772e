"""What a cell holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memptm.documents.cells import has_decimal_comma, iso_date, value


@pytest.mark.parametrize(
    ("cell", "comma", "held"),
    [
        ("1,280", False, 1280),
        ("1.280,50 €", True, 1280.5),
        ("4 850 EUR", False, 4850),
        ("4\u202f850", False, 4850),
        ("£18", False, 18),
        ("-255.00 £", False, -255.0),
        ("(300)", False, -300),
        ("4.15 %", False, 4.15),
        ("12.8 m", False, 12.8),
        ("0,9 mm", True, 0.9),
        ("+46 70 555 01 23", False, "+46 70 555 01 23"),  # a telephone number is no number
        ("00123", False, "00123"),
        ("2:41", False, "2:41"),
        ("OF-20417", False, "OF-20417"),
        ("on request", False, "on request"),
        ("30.06.2031", False, "2031-06-30"),
        ("4 June 2025", False, "2025-06-04"),
        ("Friday, June 4th, 2025", False, "2025-06-04"),
        ("2025/6/4", False, "2025-06-04"),
        ("31.02.2025", False, "31.02.2025"),
        ("", False, ""),
    ],
)
def test_a_cell_is_a_number_a_date_or_words(cell, comma, held):
    assert value(cell, decimal_comma=comma) == held
    assert type(value(cell, decimal_comma=comma)) is type(held)


@given(st.integers(-10_000_000, 10_000_000), st.integers(0, 3))
def test_numbers_are_read_as_they_are_written_in_either_manner(whole, decimals):
    number = whole / 10**decimals
    english = f"{number:,.{decimals}f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert value(english) == pytest.approx(number)
    assert value(german, decimal_comma=True) == pytest.approx(number)


@given(st.text(max_size=40))
def test_any_text_is_some_value(cell):
    assert isinstance(value(cell), int | float | str)


@given(st.dates())
def test_iso_dates_stay(day):
    assert iso_date(day.isoformat()) == day.isoformat()


def test_the_column_tells_how_decimals_are_written():
    assert has_decimal_comma(["1.035,20", "17,40"])
    assert not has_decimal_comma(["1,035.20", "17.40", "1,200"])
