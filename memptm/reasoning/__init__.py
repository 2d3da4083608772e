"""Reasoning over several hops (in later versions)."""
