"""English words that say nothing alone: the one list of them. LanceDB leaves out its own when it looks words up."""

FUNCTION_WORDS = frozenset(
    """
    a an and are as at be but by for from he her his how i if in is it its no not of on or our she so that the
    their there they this to was we were what when where which who whom whose why with you your
    """.split()  # noqa: SIM905 (else a line a word)
)
