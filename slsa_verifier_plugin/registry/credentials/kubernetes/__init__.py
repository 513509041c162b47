"""Image pull secrets of a cluster."""
