"""What recipes learn from: rows of JSONL as examples, negatives, masks, and which rows are held out."""
