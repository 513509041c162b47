"""One HTTP exchange with a registry: transport, redirects, retries."""
