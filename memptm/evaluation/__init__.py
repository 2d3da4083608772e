"""Measuring: metrics of answers and hits, and the suites that ask questions with known answers."""
