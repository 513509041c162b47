#!/bin/sh
# Prints the images of everything that runs in the cluster, one a line, for job/images.txt: what is named (init and ephemeral
# containers and volumes, too), the digests that run, which a tag may have left since, and, where there is kagent, the images
# that its Agents fetch themselves.
#
#   images.sh [KUBECTL-OPTION...]      such as --context NAME
set -eu
work=$(mktemp)
trap 'rm -f "$work"' EXIT
# Into a file first: a pipe would hide that kubectl failed, and an empty list would pass for a cluster without images.
kubectl "$@" get pods --all-namespaces --output jsonpath="{.items[*].spec['initContainers','containers','ephemeralContainers'][*].image}
{.items[*].spec.volumes[*].image.reference}
{.items[*].status['initContainerStatuses','containerStatuses','ephemeralContainerStatuses'][*].imageID}" >"$work"
if kubectl "$@" get crd agents.kagent.dev --ignore-not-found --output name | grep -q .; then
  kubectl "$@" get agents.kagent.dev --all-namespaces --output jsonpath='
{.items[*].spec.skills.refs[*]}' >>"$work"
fi
tr -s ' ' '\n' <"$work" | sed 's|^docker-pullable://||; /^sha256:/d; /^$/d' | sort -u
