"""Speed and memory, measured against real Go programs in the same run: ``python -m tools.bench``."""
