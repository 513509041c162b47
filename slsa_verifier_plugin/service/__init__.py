"""The service of one process: stores, trusted roots, keys and caches wired together."""
