"""What a question asks for by its form."""

import pytest

from memptm.reasoning.names import capitalised
from memptm.reasoning.question_form import compared, question_form


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
        ("Who is older, Ann Lee and Bob Ray?", "either-or"),
        ("Which is older: the film Jaws (1975), or the film Alien?", "either-or"),
        ("Did Alaric or Attila die first?", "either-or"),
        ("Which of Alien or Aliens was released earlier?", "either-or"),
        ("Which film, Alien or Aliens, was made in 1986?", "either-or"),
        ("Out of Alien and Predator, which is longer?", "either-or"),
        ("Which documentary was made first, The Shame of a City or Unchained Memories?", "either-or"),
        ("Which Genus has more species Eucryphia or Lepidozamia ?", "either-or"),
        ("Who directed the film that stars Ann Lee or Bob Ray?", "span"),
        ("Which actor of Alien or Aliens was born in 1949?", "span"),
        ("Which actor of Alien or Aliens was born first?", "span"),
        ("Who directed the first film of Ann Lee or Bob Ray?", "span"),
        ("Which treaty ended the war between France and Germany?", "span"),
        ("Was either Lynx Journal or Otter Review printed in colour?", "yes-no"),
        ("Did Ada sing in a film that stars Ann Lee or Bob Ray?", "yes-no"),
        ("May 1968 saw unrest in which city?", "span"),
        ("Can was founded by which musician?", "span"),
        ("Do the Right Thing was directed by whom?", "span"),
        ("Is the firm in which Bob Ray invested older?", "yes-no"),
        ("Will Ada Trent be there?", "yes-no"),
        ("Was Bob Hoskins in Who Framed Roger Rabbit?", "yes-no"),
    ],
)
def test_the_form_of_a_question(question, form):
    assert question_form(question, capitalised(question)) == form


def test_a_name_at_the_beginning_asks_for_nothing():
    question = "Will Smith starred in which film directed by Barry Sonnenfeld?"
    assert question_form(question, [(0, 10), (45, 61)]) == "span"
    assert question_form("Will Smith be in Penhollow?", [(0, 10), (17, 26)]) == "yes-no"


def test_what_was_said_before_the_question_is_not_asked():
    for said, question, form in (
        ("Ada Trent. ", "Was she born in Penhollow?", "yes-no"),
        ("Do the Right Thing. ", "Who directed it?", "span"),
        ("Hull or Leeds. ", "Which came first, Otter Review or Lynx Journal?", "either-or"),
    ):
        read = said + question
        named = capitalised(read)
        assert question_form(read, named, len(said)) == form
    assert [read[slice(*named[n])] for n in compared(read, named, len(said))] == ["Otter Review", "Lynx Journal"]


def test_the_two_sides_are_those_next_to_or():
    question = "In Hull, which came first, Otter Review or Lynx Journal?"
    named = capitalised(question)
    chosen = compared(question, named)
    assert chosen is not None
    assert [question[slice(*named[n])] for n in chosen] == ["Otter Review", "Lynx Journal"]
