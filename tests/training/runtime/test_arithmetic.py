"""A run computes as it began to, whoever wins the race when it goes on."""

import json

import pytest

from memptm.encoders import precision
from memptm.encoders.precision import Choice
from memptm.training.runtime.arithmetic import FILE, pin_precision


@pytest.fixture(autouse=True)
def _raced(monkeypatch):
    monkeypatch.setattr(precision, "_taken", [])


def test_a_run_that_begins_writes_down_what_is_fastest(tmp_path):
    pin_precision(tmp_path / "run")
    found = json.loads((tmp_path / "run" / FILE).read_text(encoding="utf-8"))
    assert Choice(**found) == precision.choice()


@pytest.mark.parametrize("began", [Choice(bfloat16=True, bulk="bfloat16"), Choice(bfloat16=False, bulk="int8")])
def test_one_that_goes_on_computes_as_it_began(tmp_path, began):
    (tmp_path / FILE).write_text(json.dumps(vars(began)), encoding="utf-8")
    pin_precision(tmp_path)
    assert (precision.bfloat16_is_faster(), precision.bulk_precision()) == (began.bfloat16, began.bulk)
