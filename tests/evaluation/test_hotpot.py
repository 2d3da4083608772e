"""HotpotQA's metrics, against its definitions worked by hand."""

import pytest

from memptm.evaluation.hotpot import score

FACTS = {("Ada", 0), ("Hull", 2)}


def test_all_right_is_one_everywhere():
    got = score("the town of Hull", ["Town of Hull!"], FACTS, FACTS)
    assert vars(got) == dict.fromkeys(("em", "f1", "support_em", "support_f1", "joint_em", "joint_f1"), 1.0)


def test_joint_precision_and_recall_are_products():
    got = score("Hull town", ["Hull"], {("Ada", 0), ("Leeds", 1)}, FACTS)
    assert (got.em, got.support_em, got.joint_em) == (0.0, 0.0, 0.0)
    assert got.f1 == pytest.approx(2 * 0.5 * 1 / 1.5)  # precision 1/2, recall 1
    assert got.support_f1 == pytest.approx(0.5)  # precision 1/2, recall 1/2
    precision, recall = 0.5 * 0.5, 1.0 * 0.5
    assert got.joint_f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_yes_no_and_silence_overlap_with_nothing():
    assert score("yes it is", ["yes"], FACTS, FACTS).f1 == 0.0
    assert score("yes", ["yes"], (), FACTS).joint_f1 == 0.0
    assert score(None, ["Hull"], FACTS, FACTS).f1 == 0.0


def test_the_best_of_several_answers_counts():
    assert score("Kingston", ["Hull", "Kingston"], FACTS, FACTS).em == 1.0
