"""``python -m slsa_verifier_plugin``."""

from slsa_verifier_plugin.entry import main

main()
