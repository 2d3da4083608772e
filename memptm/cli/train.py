"""``memptm train``: each recipe of memptm.training as a command."""

from __future__ import annotations

import click

from memptm.cli.group import Group


@click.group(cls=Group)
def train() -> None:
    """Train a part on your own questions; each command says what data it reads."""
