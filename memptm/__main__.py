"""``python -m memptm`` is the command ``memptm``."""

from memptm.cli import main

main(prog_name="memptm")
