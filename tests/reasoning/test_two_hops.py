"""The small worlds of two hops: half of them are questions that the graph answers and one passage does not."""

import pytest

from scripts.benchmarks.two_hops import WORLDS, measure
from scripts.data.held_out import rows


@pytest.mark.slow
def test_the_graph_answers_most_questions_of_two_hops_by_titles_and_headings():
    worlds = [row for row in rows(WORLDS) if row["world"] in ("bands", "expeditions", "books", "software")]
    found = measure(worlds)
    right = {
        method: sum(found[half, method]["right"] for half, of in found if of == method)
        for method in ("reader", "graph")
    }
    assert right["graph"] >= 10  # of 12
    assert right["graph"] > right["reader"]
