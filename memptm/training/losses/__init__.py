"""What recipes minimise, a paper a file."""
