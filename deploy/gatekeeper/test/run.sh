#!/bin/sh
# Runs the template's tests: run.sh [GATOR]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/." "$work"
kubectl kustomize "$here" >"$work/template.yaml"
"${1:-gator}" verify "$work/suite.yaml" -v
