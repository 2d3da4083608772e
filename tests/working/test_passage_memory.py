"""What a layer reads of the passages before, beside a loop over every query and token."""

import math

import pytest
import torch

from memptm.working.passage_memory import Before, PassageMemory, sinusoids

WIDTH, HEADS, SIZE = 12, 3, 4


def path(*, seed=0, opened=True):
    torch.manual_seed(seed)
    made = PassageMemory(WIDTH, HEADS, passages=2, rank=2).double()
    if opened:
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture
def given():
    """Two passages of three tokens; the first has two tokens before it, in two passages, the second one; a slot for nothing."""
    torch.manual_seed(1)
    hidden = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    query = torch.randn(2, HEADS, 3, SIZE, dtype=torch.float64)
    memory = torch.randn(2, 4, HEADS, SIZE, dtype=torch.float64)
    places, tokens, passages = [[3, 1, 0], [2, 0, 0]], [[0, 5, 0], [3, 0, 0]], [[1, 2, 0], [1, 0, 0]]
    return hidden, query, memory, Before(torch.tensor(places), torch.tensor(tokens), torch.tensor(passages))


def read(part, hidden, query, memory, before):
    return part(hidden, query, part.project_memory(memory, int(before.tokens.max())), before)


def naive(part, hidden, query, memory, before):
    """The formula of the module's docstring, a score at a time."""
    table = part.distance(sinusoids(10).double())
    made = torch.zeros_like(query)
    for n in range(len(query)):
        for i in range(query.shape[2]):
            moved = part.query_up(part.query_down(hidden[n, i])).view(HEADS, SIZE)
            gate = torch.tanh(part.gate(hidden[n, i]))
            read = []
            for head in range(HEADS):
                scores, found = [part.nothing[head]], [torch.zeros(SIZE, dtype=torch.float64)]
                for j, place in enumerate(before.places[n]):
                    if not before.passages[n, j]:
                        continue
                    far = (table[before.tokens[n, j]] + part.back.weight[before.passages[n, j]]).view(HEADS, SIZE)[head]
                    asked = query[n, head, i] + moved[head]
                    content = (asked + part.content_bias[head]) @ memory[0, place, head]
                    distance = (asked + part.distance_bias[head]) @ far
                    scores.append((content + distance) / math.sqrt(SIZE))
                    found.append(memory[1, place, head])
                read.append(torch.stack(scores).softmax(0) @ torch.stack(found))
            joined = torch.cat(read)
            joined = joined + part.mix_up(part.mix_down(joined))
            made[n, :, i] = gate[:, None] * joined.view(HEADS, SIZE)
    return made


def test_attention_is_the_formula(given):
    part = path()
    with torch.no_grad():
        assert torch.allclose(read(part, *given), naive(part, *given), atol=1e-6)  # sinusoids are float32's


def test_a_new_path_adds_nothing(given):
    assert torch.equal(read(path(opened=False), *given), torch.zeros_like(given[1]))


def test_with_nothing_before_nothing_is_added(given):
    *some, before = given
    nobody = Before(before.places, before.tokens, torch.zeros_like(before.passages))
    assert torch.equal(read(path(), *some, nobody), torch.zeros_like(given[1]))


def test_a_shut_gate_still_learns(given):
    part = path(opened=False)
    read(part, *given).sum().backward()
    assert part.gate.weight.grad.abs().sum() > 0


def test_sinusoids_are_sines_then_cosines():
    table = sinusoids(3)
    assert torch.allclose(table[0], torch.tensor([0.0] * 32 + [1.0] * 32))
    assert table[2, 0] == pytest.approx(math.sin(2))
    assert table[2, 32] == pytest.approx(math.cos(2))
