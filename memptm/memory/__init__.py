"""Long-term memory: LanceDB holds passages and keys, FAISS and BM25 find them."""
