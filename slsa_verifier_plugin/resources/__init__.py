"""Ratify's and Gatekeeper's resources as files: documents, and what is wrong with them."""
