#!/usr/bin/env bash
# Another implementation of Sparkplug B, to talk to in tests. It needs paho-mqtt 1 and so an environment of its own.
set -euo pipefail
root=${XDG_CACHE_HOME:-$HOME/.cache}/wattlease/sparkplug-peer
[ -e "$root/.ready" ] && exit 0
echo "services: installing pysparkplug beside the project"
rm -rf "$root"
python3 -m venv "$root"
"$root/bin/pip" install --quiet --disable-pip-version-check "pysparkplug==0.6.1" "paho-mqtt==1.6.1" "protobuf>=6,<7"
touch "$root/.ready"
