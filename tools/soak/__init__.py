"""Minutes of calls under faults, and what became of them (``make soak MINUTES=5``)."""
