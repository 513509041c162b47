#!/bin/sh
# Pushes the one-file plugin as the artifact that Ratify v1.4.4 downloads by itself ("dynamic plugin"): an image
# manifest, not an index, whose first blob is the executable. Prints the digest reference for the Verifier's
# spec.source.artifact.
#
#   push-artifact.sh REGISTRY/REPOSITORY:TAG
#
# PLUGIN   the one-file plugin (default dist/slsa)
# ORAS     the oras command, with options if need be (default oras)
set -eu
reference=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
plugin=${PLUGIN:-$root/dist/slsa}
oras=${ORAS:-oras}
cd "$(dirname "$plugin")"
# A fixed date: equal plugins get equal digests.
$oras push --format go-template='{{.reference}}' \
  --artifact-type application/vnd.ratify.plugin.v1 \
  --annotation org.opencontainers.image.created=1970-01-01T00:00:00Z \
  "$reference" "$(basename "$plugin"):application/vnd.ratify.plugin.v1+binary"
