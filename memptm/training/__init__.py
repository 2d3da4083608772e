"""Training: recipes, one file each, over what they share.

Each folder imports only itself and those before it: ``data`` (what is learned from), ``runtime`` (steps, checkpoints, logs),
``losses`` (what a step does), ``recipes`` (a command each).
"""
