"""Reasoning over several hops: CogQA's cognitive graph over long-term memory."""
