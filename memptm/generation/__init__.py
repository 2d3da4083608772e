"""From passages to answers: the span reader and the generator."""
