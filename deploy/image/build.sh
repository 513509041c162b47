#!/bin/sh
# Builds the image that the Dockerfile describes, less its labels, without a container engine: the plugin as one more
# layer on another image, reproducibly (same base and plugin, same digest). Prints the digest reference of what it pushed.
#
#   build.sh BASE IMAGE
#   build.sh gcr.io/distroless/static:nonroot registry.example/slsa-verifier:v0.1.0       # for ../provider
#   build.sh ghcr.io/notaryproject/ratify:v1.4.4 registry.example/ratify-slsa:v1.4.4      # for Ratify
#
# PLUGIN   the one-file plugin (default dist/slsa)
# CRANE    the crane command, with options if need be (default crane)
# PLATFORM of the base, where that is an index (default linux/amd64)
set -eu
base=$1 image=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
plugin=${PLUGIN:-$root/dist/slsa}
crane=${CRANE:-crane}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/.ratify/plugins"
cp "$plugin" "$work/.ratify/plugins/slsa"
chmod 755 "$work/.ratify" "$work/.ratify/plugins" "$work/.ratify/plugins/slsa"
# The demo's Verifier calls the plugin slsla, other guides slsa: a link.
cp -P "$root/deploy/image/plugins/slsla" "$work/.ratify/plugins/"
tar --create --file "$work/layer.tar" --directory "$work" --format=gnu --sort=name --mtime=@0 \
  --owner=65532 --group=65532 --numeric-owner .ratify

$crane append --platform "${PLATFORM:-linux/amd64}" --base "$base" --new_layer "$work/layer.tar" --new_tag "$image"
