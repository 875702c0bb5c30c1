#!/bin/sh
# testssl.sh (Debian's `testssl.sh`) against every TLS door of a running lab; slow: some minutes a door.
#
#   bench/testssl.sh LAB_FOLDER OUT_FOLDER [OPERATOR]
#
# Writes OUT_FOLDER/<door>.txt and .json, and findings.txt: what testssl calls LOW or worse, by door. LAB_FOLDER holds lab.json.
set -eu
lab=$1 out=$2 operator=${3:-alpha}
mkdir -p "$out"
address() {
  python3 - "$lab/lab.json" "$operator" "$1" <<'PY'
import json, sys
entry = next(one for one in json.load(open(sys.argv[1]))["operators"] if one["name"] == sys.argv[2])
print(entry[sys.argv[3]].removeprefix("https://"))
PY
}
for door in smtp submission submissions imap imaps console; do
  case $door in smtp|submission) protocol="-t smtp" ;; imap) protocol="-t imap" ;; *) protocol="" ;; esac
  rm -f "$out/$door.json"
  # shellcheck disable=SC2086
  testssl --quiet --color 0 --warnings batch --ip one --openssl-timeout 10 --add-ca "$lab/igc/anchors.pem" \
    --jsonfile "$out/$door.json" $protocol "$(address "$door")" >"$out/$door.txt" 2>&1 || true
done
python3 - "$out" <<'PY' | tee "$out/findings.txt"
import json, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    found = [one for one in json.loads(path.read_text()) if one["severity"] not in ("OK", "INFO", "DEBUG")]
    print(f"{path.stem}: {len(found)}")
    for one in found:
        print(f"  {one['severity']:8} {one['id']}: {one['finding'][:140]}")
PY
