"""A demonstration that needs nothing but this package: an embedded registry, images, attestations, the plugin."""
