"""The resident verifier itself: accepts, reads, works and answers."""
