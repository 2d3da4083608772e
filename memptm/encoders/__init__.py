"""Encoders: passages to keys, questions to queries."""

from memptm.encoders.base import Encoder, key_text
from memptm.encoders.sentence import load_encoder

__all__ = ["Encoder", "key_text", "load_encoder"]
