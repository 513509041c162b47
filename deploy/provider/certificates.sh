#!/bin/sh
# Certificates for the provider, without cert-manager; and after it, the step that starts enforcing.
#
#   certificates.sh [FOLDER...]
#   certificates.sh deploy/gatekeeper/demo
#
# 1. Makes the CA (10 years) and the server's certificate (1 year) where they are missing or in their last third, into Secrets
#    slsa-verifier-ca (which nothing mounts) and slsa-verifier-tls. Those that cert-manager made are left to it, and awaited.
# 2. Puts the CA into the Providers (gatekeeper/ca.crt, kept beside your manifests: it is public). While a CA is replaced both
#    the old one and the new one are in there, so that no connection fails on the way.
# 3. Waits until the provider is ready, then applies each FOLDER: a constraint before its provider denies everything.
#
# Run it again at any time, twice a year at least; --renew makes a new server's certificate at once, --renew-ca a new CA as well.
# --keep-providers leaves out step 2 in the cluster: ca.crt is written, and Gatekeeper goes on to ask whom it asks (from-ratify.md).
#
# NAMESPACE  of the provider (default gatekeeper-system)
# PROVIDERS  folder with the Providers (default gatekeeper/ beside this script); empty where Kyverno asks (the CA is printed)
# TIMEOUT    for each wait (default 180s)
# It needs kubectl, openssl and base64.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
namespace=${NAMESPACE:-gatekeeper-system}
providers=${PROVIDERS-$here/gatekeeper}
timeout=${TIMEOUT:-180s}
name=slsa-verifier
renew=false renew_ca=false keep=false
while [ $# -gt 0 ]; do
  case $1 in
  --renew) renew=true ;;
  --renew-ca) renew=true renew_ca=true ;;
  --keep-providers) keep=true ;;
  -*) echo "certificates.sh: no such option: $1" >&2 && exit 2 ;;
  *) break ;;
  esac
  shift
done
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM # not every shell runs EXIT's for a signal, and keys lie there

in_namespace() { kubectl --namespace "$namespace" "$@"; }
# Writes an entry of a Secret to a file, an empty one where there is none. A cluster that does not answer must not look like one
# without a CA: the script would make another, and end trust in the one there is.
entry() {
  value=$(in_namespace get secret "$1" --ignore-not-found --output "go-template={{with .data}}{{with index . \"$2\"}}{{.}}{{end}}{{end}}")
  printf %s "$value" | base64 -d >"$3"
}
# Runs openssl, whose messages are shown only where it fails.
quiet() { openssl "$@" 2>"$work/openssl.log" || { cat "$work/openssl.log" >&2 && exit 1; }; }
# Tells whether the certificate in a file has more than a third of its days left.
lasts() { openssl x509 -in "$1" -noout -checkend $(($2 * 24 * 3600 / 3)) >/dev/null 2>&1; }
put_secret() { in_namespace create secret "$@" --dry-run=client --output yaml | in_namespace apply --server-side --force-conflicts --filename - >/dev/null; }

# Certificates are cert-manager's where it has been asked for one. Without cert-manager there is no such kind.
asked=$(kubectl get crd certificates.cert-manager.io --ignore-not-found --output name)
[ -z "$asked" ] || asked=$(in_namespace get certificates.cert-manager.io "$name-tls" --ignore-not-found --output name)
if [ -n "$asked" ]; then
  in_namespace wait --for=condition=Ready "certificate.cert-manager.io/$name-tls" --timeout "$timeout"
  entry "$name-tls" ca.crt "$work/bundle.crt"
else
  entry "$name-ca" tls.crt "$work/ca.crt"
  entry "$name-ca" tls.key "$work/ca.key"
  cp "$work/ca.crt" "$work/old.crt"
  if $renew_ca || ! lasts "$work/ca.crt" 3650; then
    quiet req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$name CA $(date -u +%Y-%m-%d)" \
      -keyout "$work/ca.key" -out "$work/ca.crt" -addext basicConstraints=critical,CA:TRUE \
      -addext keyUsage=critical,keyCertSign
    renew=true
    echo "certificate authority: made"
  fi
  # The newest first; the one before it stays until the server shows the new certificate everywhere.
  cat "$work/ca.crt" >"$work/bundle.crt"
  cmp -s "$work/ca.crt" "$work/old.crt" || cat "$work/old.crt" >>"$work/bundle.crt"
fi
[ -s "$work/bundle.crt" ] || { echo "certificates.sh: Secret $name-tls has no ca.crt" >&2 && exit 1; }

# Providers first: they have to trust the new CA before the server shows a certificate of it.
if [ -n "$providers" ]; then
  cat "$work/bundle.crt" >"$providers/ca.crt"
  chmod 644 "$providers/ca.crt"
  $keep || kubectl apply --kustomize "$providers"
else
  echo "The CA, for Kyverno's chart (global.caCertificates.data):"
  cat "$work/bundle.crt"
fi

if [ -f "$work/ca.key" ]; then
  put_secret tls "$name-ca" --cert "$work/ca.crt" --key "$work/ca.key"
  entry "$name-tls" tls.crt "$work/tls.crt"
  if $renew || ! lasts "$work/tls.crt" 365; then
    # A common name has 64 characters at most, a namespace up to 63: the names that count are below.
    quiet req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$work/tls.key" -out "$work/tls.csr"
    printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth \
      "subjectAltName=DNS:$name.$namespace,DNS:$name.$namespace.svc" >"$work/extensions"
    quiet x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 365 \
      -extfile "$work/extensions" -out "$work/tls.crt"
    put_secret tls "$name-tls" --cert "$work/tls.crt" --key "$work/tls.key"
    echo "server's certificate: made; the server reads it within a minute or two"
  else
    echo "server's certificate: good until $(openssl x509 -in "$work/tls.crt" -noout -enddate | cut -d= -f2)"
  fi
fi

in_namespace rollout status "deployment/$name" --timeout "$timeout"
for folder in "$@"; do
  kubectl wait --for=condition=Established crd/ratifyverification.constraints.gatekeeper.sh --timeout "$timeout" >/dev/null
  kubectl apply --kustomize "$folder"
  # Gatekeeper's Pods take a constraint in one after the other; until then nothing is denied.
  kubectl wait --for=jsonpath='{.status.byPod[0].enforced}'=true ratifyverification --all --timeout "$timeout" >/dev/null
done
