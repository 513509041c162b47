"""A whole admission path of real programs on loopback, and the checks that are made through it.

``python -m tests.e2e.cluster`` builds what is missing, enters namespaces of its own and runs the checks there.
"""
