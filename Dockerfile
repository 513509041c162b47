# syntax=docker/dockerfile:1
# Ratify with the plugin in it: two small layers (the file, its second name) and two labels more. Build dist/slsa first
# (make dist).
#   docker build --build-arg RATIFY=ghcr.io/notaryproject/ratify:v1.4.4@sha256:... -t registry.example/ratify-slsa:v1.4.4 .
# The image without Ratify (deploy/provider) is the same on an empty one: RATIFY=gcr.io/distroless/static:nonroot.
# deploy/image/build.sh adds the same files in one layer, without a container engine and reproducibly; Dockerfile.python
# has the plugin on a Python image.
ARG RATIFY=ghcr.io/notaryproject/ratify:v1.4.4
FROM ${RATIFY}

# For several platforms: dist/amd64 and dist/arm64.
ARG DIST=dist
LABEL org.opencontainers.image.title="Ratify with slsa-verifier-plugin" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --chown=65532:65532 --chmod=755 ${DIST}/slsa /.ratify/plugins/slsa
# The demo's Verifier calls the plugin slsla, other guides slsa: a link.
COPY --chown=65532:65532 deploy/image/plugins/ /.ratify/plugins/
