"""From a question and passages to an answer with its evidence: one answerer a method."""
