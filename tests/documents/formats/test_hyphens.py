"""Words that a line's end parts."""

from __future__ import annotations

import pytest

from memptm.documents.formats.hyphens import joined, words_of


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("exami-\nnation", "examination"),
        ("a well-\nknown man", "a well-known man"),
        ("twenty-\nfive", "twenty-five"),
        ("type RX-\nb", "type RX-b"),
        ("COVID-\nrelated", "COVID-related"),
        ("exami\u00adnation", "exami\u00adnation".replace("\u00ad", "-")),
        ("exami\u00ad\nnation", "examination"),
        ("a work\u2010\nshop", "a workshop"),
        ("Hafen-\nmeisterin", "Hafenmeisterin"),
        ("on one -\ntwo", "on one -\ntwo"),
    ],
)
def test_the_hyphen_goes_or_stays_as_the_word_is_written(text, whole):
    assert joined(text, frozenset) == whole


def test_the_documents_own_words_decide_first():
    assert joined("re-\nsign", lambda: words_of("They re-sign it.")) == "re-sign"
    assert joined("Quell-\nhof", lambda: words_of("Der Quellhof liegt dort.")) == "Quellhof"
