#!/usr/bin/env bash
# Sends a file under a key: upload.sh FILE KEY. Prints the receipt. KEY is part of a URL: percent-encode what has to be.
set -euo pipefail
file=$1 key=$2

# The service compares the bytes that it received with this digest. If they differ, nothing is stored.
digest=$(openssl dgst -sha256 -binary "$file" | base64)

# --fail-with-body: an error ends with a code that is not 0, and its JSON is printed.
# --retry: after a lost connection, 429, 503 and other passing errors, the same request is sent again.
curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused \
    --header "Authorization: Bearer $MENTUM_TOKEN" \
    --header "Idempotency-Key: $(openssl rand -hex 16)" \
    --header "Content-Digest: sha-256=:$digest:" \
    --upload-file "$file" "${MENTUM_URL:-http://127.0.0.1:8000}/files/$key"
echo
