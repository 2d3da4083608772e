"""Encoders: passages to keys, questions to queries. load.py finds one by its name; base.py says what each can do."""
