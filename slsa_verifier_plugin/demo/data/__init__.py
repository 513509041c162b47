"""The demo's attestations and the trusted root of the Sigstore that signed them, whose private keys are public.

``python -m tests.support.regenerate`` writes them. Nothing but the demo may trust this root.
"""
