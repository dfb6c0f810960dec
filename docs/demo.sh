#!/bin/sh
# Read the sample book with the model in the box and ask it something; everything stays in a temporary folder.
#   sh docs/demo.sh path/to/mplus
set -eu
mplus=${1:-mplus}
book=$(dirname "$0")/../mplus_cli/sample/treasure-island.epub
MPLUS_HOME=$(mktemp -d)
export MPLUS_HOME
trap 'rm -rf "$MPLUS_HOME"' EXIT INT TERM

show() {
    printf '\n$ mplus'
    for word in "$@"; do
        case $word in *' '*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
}

show ingest treasure-island.epub --library novels
"$mplus" ingest "$book" --library novels
for question in "What was the name of the inn that Jim's father kept?" "What did the captain promise to give Jim on the first of every month?"; do
    show ask --library novels "$question"
    "$mplus" ask --library novels --top 3 "$question"
done
