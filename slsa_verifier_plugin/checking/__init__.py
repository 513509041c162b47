"""Images and attestation files against verifiers, as Ratify decides; used by the command line, the audit and the provider."""
