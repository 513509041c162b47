"""Signatures: trusted roots, and candidates to verified payloads. The only importer of sigstore, tuf and cryptography."""
