"""OCI registries: references, credentials, bounded reads with checked digests."""
