"""Docker's configuration file and credential helpers."""
