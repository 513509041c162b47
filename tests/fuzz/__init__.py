"""Fuzzing: targets that hold an invariant for any bytes, whole verifications with an oracle of their own, and a driver."""
