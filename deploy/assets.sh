#!/usr/bin/env bash
# Fetch the front-end packages of package-lock.json and lay out what the pages load in static/vendor. Safe to run again;
# does nothing while the lock file and this script are unchanged.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
web=$root/cloud_api/web
vendor=$web/static/vendor
stamp=$(cat "$web/package-lock.json" "$0" | sha256sum | cut -d' ' -f1)
[ "$(cat "$vendor/.ready" 2>/dev/null)" = "$stamp" ] && exit 0

npm=$(command -v npm || true)
# Without a Node.js of its own the machine uses the one from the wheel.
[ -n "$npm" ] || { npm=$root/.venv/bin/npm; export PATH="$root/.venv/bin:$PATH"; }
[ -x "$npm" ] || { echo "assets: npm is missing; run make setup first" >&2; exit 1; }
echo "assets: fetching the front-end packages"
cd "$web"
log=$(mktemp)
"$npm" ci --ignore-scripts --no-audit --no-fund >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }
rm -f "$log"

rm -rf "$vendor.new"
mkdir -p "$vendor.new/fonts"
cp node_modules/htmx.org/dist/htmx.min.js "$vendor.new/"
cp node_modules/htmx-ext-sse/dist/sse.min.js "$vendor.new/htmx-sse.js"
cp node_modules/echarts/dist/echarts.min.js "$vendor.new/"
cp -r node_modules/@fontsource-variable/inter "$vendor.new/inter"
cp -r node_modules/@fontsource-variable/noto-sans-sc "$vendor.new/noto-sans-sc"
rm -f "$vendor".new/inter/files/*{opsz,standard,italic}*
# Whole faces for documents: typst takes them by its font path.
for weight in 400Regular 700Bold; do
  cp "node_modules/@expo-google-fonts/noto-sans-sc/$weight/NotoSansSC_$weight.ttf" "$vendor.new/fonts/"
done
echo "$stamp" >"$vendor.new/.ready"
rm -rf "$vendor"
mv "$vendor.new" "$vendor"
