"""Personalised PageRank equals NetworkX's, and its laws hold."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memptm.reasoning.pagerank import pagerank


@st.composite
def graphs(draw):
    """(edges with weights, start) of up to nine nodes; some without edges, some that only receive."""
    count = draw(st.integers(1, 9))
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    weights = draw(st.lists(st.floats(0.1, 5), min_size=len(chosen), max_size=len(chosen)))
    start = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    return dict(zip(chosen, weights, strict=True)), np.array(start)


@settings(deadline=None)
@given(graphs())
def test_it_equals_networkx(drawn):
    edges, start = drawn
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(start)))
    graph.add_weighted_edges_from((source, target, weight) for (source, target), weight in edges.items())
    begin = dict(enumerate(start)) if start.sum() > 1e-6 else None
    if begin is None:
        start = np.zeros(len(start))
    theirs = networkx.pagerank(graph, alpha=0.85, personalization=begin, max_iter=5000, tol=1e-14)
    assert pagerank(edges, start) == pytest.approx([theirs[n] for n in range(len(start))], abs=1e-9)


@settings(deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_it_sums_to_one_and_renaming_nodes_renames_scores(drawn, chance):
    edges, start = drawn
    scores = pagerank(edges, start)
    assert scores.sum() == pytest.approx(1.0)
    order = list(range(len(start)))
    chance.shuffle(order)
    renamed = {(order[source], order[target]): weight for (source, target), weight in edges.items()}
    moved = np.empty(len(start))
    moved[order] = start
    assert pagerank(renamed, moved)[order] == pytest.approx(scores, abs=1e-9)


def test_no_nodes_no_scores():
    assert len(pagerank({}, np.zeros(0))) == 0


def test_an_edge_that_leaves_the_graph_or_weighs_less_than_nothing_is_refused():
    with pytest.raises(ValueError, match="leaves its 2 nodes"):
        pagerank({(0, 2): 1.0}, np.ones(2))
    with pytest.raises(ValueError, match="at least 0"):
        pagerank({(0, 1): -1.0}, np.ones(2))
