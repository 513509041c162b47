"""The door of a node: containerd asks before it pulls an image (``docs/operations/containerd.md``)."""
