#!/bin/sh
# Writes a copy of these manifests, with what is yours in the place of the placeholders, to keep with your own files:
#
#   configure.sh FOLDER
#
# SETTINGS  the file that says what is yours (default settings.env beside this script)
#
# It refuses while a value is missing, and where FOLDER is there already: nothing that you changed in it is written over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
settings=${SETTINGS:-$here/settings.env}
[ $# -eq 1 ] || { echo "usage: configure.sh FOLDER" >&2; exit 2; }
target=$1
[ -r "$settings" ] || { echo "configure.sh: $settings cannot be read" >&2; exit 2; }
[ ! -e "$target" ] || { echo "configure.sh: $target is there already; name another folder, or delete that one" >&2; exit 2; }
# A word without a slash would be looked up in the PATH.
REGISTRY='' SOURCE='' NAMESPACES=''
case $settings in */*) . "$settings" ;; *) . "./$settings" ;; esac

left=''
complain() { left="$left
  $1"; }
fits() { printf '%s\n' "$2" | LC_ALL=C grep -Eqx "$1" && [ "$(printf '%s\n' "$2" | wc -l)" -eq 1 ]; }
case $REGISTRY in
*registry.example*) complain "REGISTRY is still registry.example: the registry that has your image with the plugin" ;;
*) fits '([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[a-z0-9._-]+)*' "$REGISTRY" ||
  complain "REGISTRY is \"$REGISTRY\"; expected a host such as ghcr.io/team, without https:// and without a slash at the end" ;;
esac
case $SOURCE in
*OWNER* | *REPOSITORY*) complain "SOURCE is still $SOURCE: the repository that your images are built from" ;;
*) fits 'git\+https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~-]+)+' "$SOURCE" ||
  complain "SOURCE is \"$SOURCE\"; expected a repository such as git+https://github.com/owner/name" ;;
esac
fits '[a-z0-9]([a-z0-9-]*[a-z0-9])?( +[a-z0-9]([a-z0-9-]*[a-z0-9])?)*' "$NAMESPACES" ||
  complain "NAMESPACES is \"$NAMESPACES\"; expected names of namespaces with blanks between them"
if [ -n "$left" ]; then
  echo "configure.sh: something is left to fill in, in $settings:$left" >&2
  exit 1
fi

mkdir -p "$target"
cp -R "$here/." "$target/"
# What is no manifest, or is used where it is.
rm -rf "$target/README.md" "$target/settings.env" "$target/configure.sh" "$target/image" "$target/gatekeeper/test"
names=$(printf '%s' "$NAMESPACES" | sed 's/  */", "/g')
# The template names no image but in a remark, and is the one whose tests were run.
find "$target" -type f \( -name '*.yaml' -o -name '*.txt' \) ! -path "$target/gatekeeper/template/*" | while IFS= read -r file; do
  sed -e "s|registry\.example/|$REGISTRY/|g" \
    -e "s|https://github\.com/DahuK/slsa-attestation-action-demo|${SOURCE#git+}|g" \
    -e "s|namespaces: \[\"default\", \"kagent\"\]|namespaces: [\"$names\"]|" "$file" >"$file.new"
  mv "$file.new" "$file"
done
# What no line above knows would be found by the cluster, one Pod after the other. A value of yours is no placeholder.
placeholders='registry\.example/|OWNER'
case $SOURCE in *DahuK*) ;; *) placeholders="$placeholders|DahuK" ;; esac
[ "$names" = 'default", "kagent' ] || placeholders="$placeholders|\"default\", \"kagent\""
if found=$(grep -rnE "$placeholders" "$target" | grep -v "^$target/gatekeeper/template/"); then
  printf 'configure.sh: a placeholder is left in a file that this script does not know:\n%s\n' "$found" >&2
  rm -rf "$target"
  exit 1
fi
echo "$target: $(find "$target" -name kustomization.yaml | wc -l | tr -d ' ') kustomizations; images from $REGISTRY, source $SOURCE, Pods of $NAMESPACES; nothing is left to fill in"
