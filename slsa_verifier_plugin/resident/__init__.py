"""The verifier that stays warm, and the thin client that asks it (``docs/resident-protocol.md``)."""
