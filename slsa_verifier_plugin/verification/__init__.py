"""The use case: one artifact of one image against one policy, over Protocols of store and verifier."""
