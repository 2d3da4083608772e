"""The graph network equals a naive loop over nodes; permuting nodes permutes scores; swapping sides mirrors a choice."""

import math

import numpy as np
import pytest
import torch

from memptm.reasoning.findings import Findings
from memptm.reasoning.system2 import NUMBERS, GraphNetwork, System2, column_normalised, graph_tensors, save_network
from tests.reasoning.test_frontier import ASKED, CHAIN
from tests.reasoning.toy import ByName, expand, index_of

MEANING = 12


class Meaning(ByName):
    """Pages have a vector that depends on their text."""

    def read_pages(self, question, pages):
        from dataclasses import replace

        readings = super().read_pages(question, pages)
        vectors = [np.random.default_rng(len(p.passage.text)).normal(size=MEANING) for p in pages]
        return [replace(s, meaning=v.astype(np.float32)) for s, v in zip(readings, vectors, strict=True)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = GraphNetwork(MEANING, width=16)
    torch.nn.init.normal_(made.score[-1].weight)
    return made.double().eval()


def drawn(count=6, seed=0):
    torch.manual_seed(seed)
    adjacency = (torch.rand(count, count) < 0.4).double()
    adjacency.fill_diagonal_(0)
    return torch.randn(count, MEANING).double(), torch.randn(count, NUMBERS).double(), adjacency


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def naive(network, meaning, numbers, adjacency):
    """X' = σ(W_r X + Aᵀ σ(W_d X)), node by node."""
    count = len(adjacency)
    x = [network.begin(torch.cat([meaning[n], numbers[n]])) for n in range(count)]
    a = [[float(adjacency[i, j]) + float(i == j) for j in range(count)] for i in range(count)]
    column = [sum(a[i][j] for i in range(count)) for j in range(count)]
    for _ in range(2):
        sent = [gelu(network.send.weight @ one) for one in x]
        x = [
            gelu(network.keep.weight @ x[j] + sum(a[i][j] / column[j] * sent[i] for i in range(count)))
            for j in range(count)
        ]
    return torch.stack(x)


def test_the_network_is_the_formula(network):
    inputs = drawn()
    with torch.no_grad():
        assert torch.allclose(network(*inputs), naive(network, *inputs), atol=1e-10)


def test_columns_sum_to_one_with_self_edges():
    a = column_normalised(drawn()[2].float())
    assert torch.allclose(a.sum(0), torch.ones(6))
    assert (a.diagonal() > 0).all()


def test_permuting_nodes_permutes_scores(network):
    meaning, numbers, adjacency = drawn()
    order = torch.randperm(6)
    with torch.no_grad():
        plain = network.shifts(network(meaning, numbers, adjacency))
        moved = network.shifts(network(meaning[order], numbers[order], adjacency[order][:, order]))
    assert torch.allclose(moved, plain[order], atol=1e-12)


def test_swapping_the_sides_of_a_comparison_mirrors_the_choice_and_leaves_yes_as_it_is(network):
    network.requires_grad_(False)
    one, other = torch.randn(2, 16).double()
    assert float(network.first_is(one, other)) == pytest.approx(-float(network.first_is(other, one)))
    assert float(network.yes(one, other)) == pytest.approx(float(network.yes(other, one)))
    assert float(network.first_is(one, one)) == pytest.approx(0.0)


def test_untrained_it_moves_nothing():
    findings = Findings(expand(index_of(*CHAIN), ASKED, system1=Meaning()))
    verdict = System2(GraphNetwork(MEANING)).judge(findings)
    assert set(verdict.shift.values()) == {0.0}


def test_pages_come_first_then_answers_and_edges_lead_to_them():
    findings = Findings(expand(index_of(*CHAIN), ASKED, system1=Meaning()))
    made = graph_tensors(findings)
    assert made.pages == len(findings.pages)
    assert made.keys == ("1340",)
    assert made.meaning.shape == (made.pages + 1, MEANING)
    town = next(node.id for node in findings.pages if node.page.name == "Penhollow")
    assert made.adjacency[:, made.pages].nonzero().flatten().tolist() == [town]
    assert (made.adjacency.diagonal() == 0).all()
    assert made.page_of[-1] == town


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Which is older, Otter Review or Cape Morrow?", {"Otter Review", "Cape Morrow"}),
        ("Are Otter Review and Cape Morrow magazines?", {"yes", "no"}),
        (
            "Between Otter Review and Cape Morrow, which began first, Otter Review or Cape Morrow?",
            {"Otter Review", "Cape Morrow"},
        ),
    ],
)
def test_comparisons_are_chosen_between_the_two_named(question, said, network):
    findings = Findings(expand(index_of(*CHAIN), question, system1=Meaning()))
    verdict = System2(network.float()).judge(findings)
    assert {text for text, _ in verdict.choice} == said
    assert sum(p for _, p in verdict.choice) == pytest.approx(1.0)
    assert [findings.pages[n].page.name for n in verdict.compared] == ["Otter Review", "Cape Morrow"]


def test_yes_or_no_is_of_the_names_that_have_a_page_of_their_own(network):
    memory = index_of(*CHAIN, ("Lynx Journal", "Lynx Journal is read in Kent."))
    findings = Findings(expand(memory, "Did Kent know Otter Review and Cape Morrow?", system1=Meaning()))
    assert "Kent" in [node.page.name for node in findings.pages if node.named]
    verdict = System2(network.float()).judge(findings)
    assert [findings.pages[n].page.name for n in verdict.compared] == ["Otter Review", "Cape Morrow"]


def test_saved_weights_are_loaded_again_and_must_fit(tmp_path):
    torch.manual_seed(1)
    network = GraphNetwork(MEANING)
    save_network(network, tmp_path)
    loaded = System2.load(tmp_path, width=MEANING)
    assert torch.allclose(loaded.network.begin.weight, network.begin.weight, atol=1e-3)
    with pytest.raises(Exception, match="asks for"):
        System2.load(tmp_path, width=MEANING + 1)
    assert System2.load(tmp_path / "nothing", width=MEANING) is None
