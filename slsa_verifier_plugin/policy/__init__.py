"""What is demanded of an attestation: parameters, the numbered checks, the verdict. No I/O; ``now`` is an argument."""
