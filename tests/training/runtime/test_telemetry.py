"""What is told of a retriever in training: the numbers, what looks like a collapse, the table and the plot."""

import json
import math

import pytest
import torch

from memptm.training.runtime.loop import fit
from memptm.training.runtime.run import Run
from memptm.training.runtime.telemetry import INFORMED, WINDOW, Telemetry, information, retrieval_numbers


def record(**numbers):
    return {"loss": 1.0, "entropy": 1.0, "distinct": 0.8, "drift": 0.0, "stale": 0} | numbers


def filled(folder, steps=WINDOW, **numbers):
    telemetry = Telemetry(folder, documents=5)
    for step in range(1, steps + 1):
        telemetry.add(step, record(**numbers))
    return telemetry


def test_entropy_distinct_documents_and_drift_are_what_they_say():
    log_prior = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]]).log()
    documents = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]])
    now, before = torch.eye(2), torch.tensor([[1.0, 0], [1.0, 0]])
    numbers = retrieval_numbers(log_prior, documents, now, before, keys=torch.eye(2)[[0] * 100], temperature=0.1)
    assert numbers["entropy"] == pytest.approx(math.log(4) / 2)
    assert numbers["distinct"] == pytest.approx(5 / 8)
    assert numbers["drift"] == pytest.approx(0.5)


def test_a_small_index_has_no_more_distinct_documents_than_it_holds():
    documents = torch.tensor([[0, 1, 2]] * 20 + [[0, 1, -1]])  # the last question found two
    log_prior = torch.full((21, 3), 1 / 3).log()
    unit = torch.ones(21, 1)
    numbers = retrieval_numbers(log_prior, documents, unit, unit, keys=torch.ones(3, 1), temperature=0.1)
    assert numbers["distinct"] == 1


@pytest.mark.parametrize(
    ("numbers", "said"), [({}, ""), ({"distinct": 0.02}, "distinct"), ({"entropy": 0.001}, "one document takes all")]
)
def test_a_collapse_is_called_out_with_what_to_do(tmp_path, numbers, said):
    warning = filled(tmp_path, **numbers).collapse()
    assert (said in warning) if said else not warning
    assert not warning or "ower the learning rate" in warning


SIZES = [(10, 2), (10, 16), (300, 4), (300, 64), (5000, 8)]  # passages, questions a step


def steps_of(folder, passages, batch, *, noise, k=3):
    """Telemetry of questions that ask for passages at random: each as far from its own as ``noise``, or all for one."""
    chance = torch.Generator().manual_seed(passages * batch)
    unit = torch.nn.functional.normalize
    keys = unit(
        torch.randn(passages, 32, generator=chance) + 2.0, dim=1
    )  # as embeddings do, they all point one way a little
    telemetry = Telemetry(folder, documents=k)
    for step in range(1, INFORMED + 1):
        wanted = torch.randint(passages, (batch,), generator=chance) if noise else torch.zeros(batch, dtype=torch.long)
        queries = unit(keys[wanted] + (noise or 1e-4) * torch.randn(batch, 32, generator=chance), dim=1)
        scores, documents = (queries @ keys.t() / 0.05).topk(k, dim=1)
        log_prior = scores.log_softmax(dim=1)
        told = retrieval_numbers(log_prior, documents, queries, queries, keys=keys, temperature=0.05)
        telemetry.add(step, {"loss": 1.0, **told})
    return telemetry


@pytest.mark.parametrize(("passages", "batch"), SIZES)
def test_a_collapse_is_seen_within_ten_steps_whatever_the_sizes_of_index_and_batch(tmp_path, passages, batch):
    assert "nearly the same for all questions" in steps_of(tmp_path, passages, batch, noise=0).collapse()


@pytest.mark.parametrize("noise", [0.05, 0.8])
@pytest.mark.parametrize(("passages", "batch"), SIZES)
def test_questions_that_find_documents_of_their_own_are_no_collapse(tmp_path, passages, batch, noise):
    assert not steps_of(tmp_path, passages, batch, noise=noise).collapse()


@pytest.mark.parametrize(
    ("numbers", "alarm"),
    [
        ({"loss": 0.01}, False),  # sure and right: it has learned
        ({"loss": 3.0}, True),
        ({"loss": 3.0, "utility": 1.0}, False),  # what it reads helps
        ({"loss": 0.5, "utility": -0.2}, True),
    ],
)
def test_one_document_may_take_all_where_it_is_the_right_one(tmp_path, numbers, alarm):
    found = filled(tmp_path, entropy=0.001, information=0.9, **numbers).collapse()
    assert ("one document takes all" in found) == alarm


def test_few_documents_that_tell_questions_apart_are_no_collapse(tmp_path):
    assert not filled(tmp_path / "narrow", distinct=0.02, information=0.6).collapse()
    assert "distinct" in filled(tmp_path / "clusters", distinct=0.02, information=0.2).collapse()


def test_information_is_all_or_nothing_where_it_must_be():
    apart, same = torch.eye(4), torch.ones(4, 4) / 2
    assert information(apart, apart, temperature=0.01) == pytest.approx(1)
    assert information(same, apart, temperature=0.01) == pytest.approx(0, abs=1e-6)
    assert information(apart[:1], apart, temperature=0.01) is None
    assert information(apart, apart[:1], temperature=0.01) is None


class Collapsed:
    """A task in which all questions get the same few documents."""

    model = torch.nn.Linear(1, 1)

    def groups(self):
        return [{"params": list(self.model.parameters()), "lr": 1e-3}]

    def training_step(self, step, rows):
        self.model(torch.ones(1)).sum().backward()
        return record(distinct=0.01)

    def state(self):
        return {}


def test_a_collapse_is_called_out_while_training_goes_on(tmp_path):  # F93
    told = []
    fit(
        Collapsed(), [[0]] * (WINDOW + 9), Run("rag", tmp_path), warm_up=0.1, save_every=99, documents=5, remedy="",
        progress=told.append,
    )  # fmt: skip
    assert ["collapsed" in event.detail for event in told] == [False] * (WINDOW - 1) + [True] * 10


def test_steps_without_any_loss_are_reported_early(tmp_path):  # F93
    assert "nothing competes" in filled(tmp_path, steps=10, loss=0.0).collapse()


def test_a_few_steps_are_no_collapse(tmp_path):
    assert not filled(tmp_path, steps=WINDOW - 1, distinct=0.0).collapse()


def test_a_run_that_goes_on_drops_what_came_after_its_checkpoint(tmp_path):
    filled(tmp_path, steps=9)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 10, "lo')  # killed while it wrote
    again = Telemetry(tmp_path, documents=5, done=6)
    again.add(7, record(loss=2.0))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[-1]["loss"] == again.records[-1]["loss"] == 2.0


def test_the_table_has_means_over_parts_and_the_plot_is_a_picture(tmp_path):
    telemetry = filled(tmp_path, steps=30)
    telemetry.add(31, record(utility=0.5))
    table = telemetry.table()
    assert [row["step"] for row in table] == [*range(3, 31, 3), 31]
    assert "utility" not in table[0]
    assert table[-1]["utility"] == 0.5
    pytest.importorskip("matplotlib")
    assert telemetry.plot().read_bytes().startswith(b"\x89PNG")
