"""Working memory: what a model holds while it reads."""
