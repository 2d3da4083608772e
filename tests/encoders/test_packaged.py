"""memptm-recurrent, the encoder that comes with memptm: what a passage means is read off the ones before it."""

import pytest

from memptm import Document, Memory
from memptm.encoders.load import load_encoder
from memptm.encoders.recurrent import RecurrentEncoder
from memptm.types import Block
from tests.naive import assert_near

TALK = [
    (
        "Ana: We spent the first week of May in Lisbon, right by the river.",
        "Bo: It rained every single day there, sadly.",
    ),
    ("Ana: My brother finally opened his bakery in Leeds.", "Bo: What does he sell there besides bread?"),
    ("Ana: The old lighthouse at Hove is being painted red.", "Bo: Who is paying for that?"),
]
ABOUT = [
    "What was the weather like in Lisbon?",
    "What does the bakery in Leeds sell?",
    "Who pays for painting the lighthouse?",
]


@pytest.fixture(scope="module")
def encoder():
    found = load_encoder("memptm-recurrent")
    assert isinstance(found, RecurrentEncoder)
    return found


def test_a_turn_comes_nearer_to_questions_about_what_it_leans_on(encoder):
    queries = encoder.encode_questions(ABOUT)
    alone = encoder.encode_passages([second for _, second in TALK])
    known = encoder.encode_documents(TALK)[1::2]
    nearer = (queries * known).sum(1) - (queries * alone).sum(1)
    assert (nearer > 0.02).all(), nearer


def test_a_question_after_a_talk_comes_nearer_to_its_rewrite(encoder):
    _, past = encoder.read("Tell me about the lighthouse at Hove.", None)
    _, past = encoder.read("It was built in 1871 and is painted red.", past)
    rewrite = encoder.encode_questions(["Who built the lighthouse at Hove?"])
    alone, after = encoder.encode_questions(["Who built it?"]), encoder.ask("Who built it?", past)
    assert float((after @ rewrite.T).item()) > float((alone @ rewrite.T).item()) + 0.05


def test_what_stands_alone_has_the_adapted_encoders_key(encoder):
    texts = ["Who built it?", "The lamp is lit at dusk."]
    assert_near(encoder.encode_questions(texts), encoder.alone.encode_questions(texts))
    single = encoder.encode_documents([[text] for text in texts])
    assert ((single * encoder.encode_passages(texts)).sum(1) > 0.999).all()  # many at once are read in 8-bit integers


def test_an_index_is_built_with_it_by_name(tmp_path):
    memory = Memory.open(tmp_path / "index", create=True, encoder="memptm-recurrent")
    for n, turns in enumerate(TALK):
        end = len(turns[0])
        blocks = (
            Block(start=0, end=end, kind="turn", id=f"{n}/0"),
            Block(start=end + 1, end=end + 1 + len(turns[1]), kind="turn", id=f"{n}/1"),
        )
        memory.add([Document(id=str(n), text="\n".join(turns), blocks=blocks)])
    again = Memory.open(tmp_path / "index")
    assert again.info()["encoder"] == "memptm-recurrent"
    found = again.search(ABOUT[0], k=2, mode="dense")
    assert {hit.passage.id for hit in found} == {"0/0", "0/1"}
