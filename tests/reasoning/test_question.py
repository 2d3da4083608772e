"""What a question asks for by its form."""

import pytest

from memptm.reasoning.names import capitalised
from memptm.reasoning.question import compared, question_form


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("Which came first, Otter Review or Lynx Journal?", "either-or"),
        ("Who is older, Carrie Akre or Shifty Shellshock?", "either-or"),
        ("Between Ada Trent and Tom Bass, who is older?", "either-or"),
        ("Is the Marsilea or the Brabejum the bigger genus?", "either-or"),
        ("Were both Peter Duffell and Fred Niblo actors?", "yes-no"),
        ("Are Ranger Rick and Tennis both magazines?", "yes-no"),
        ("Did Ada Trent paint or draw?", "yes-no"),  # "or" alone does not make a comparison
        ("What did Ada Trent paint or draw in Penhollow?", "span"),
        ("Who wrote the book that Ada Trent read?", "span"),
        ("", "span"),
    ],
)
def test_the_form_of_a_question(question, form):
    assert question_form(question, capitalised(question)) == form


def test_the_two_sides_are_those_next_to_or():
    question = "In Hull, which came first, Otter Review or Lynx Journal?"
    named = capitalised(question)
    chosen = compared(question, named)
    assert chosen is not None
    assert [question[slice(*named[n])] for n in chosen] == ["Otter Review", "Lynx Journal"]
