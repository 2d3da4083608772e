"""MemRecall: which blocks of long texts enter the window that a model reads (CogLTX, Ding et al. 2020)."""
