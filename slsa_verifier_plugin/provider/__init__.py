"""The HTTPS server that answers Gatekeeper's external data requests (and Kyverno's) without Ratify."""
