"""Mutation tests of the verifying core: a check that can be taken out without a failing test is a check that nothing proves."""
