#!/bin/sh
# critest's specs of AppArmor, which no other test machine can run: nine of them, and all must pass.
cd "$(dirname "$0")/../../cri" || exit 1
. ./lib.sh
image=e2e-test-images/busybox:1.29-2
make_busybox
registry_start
ok "the image that it pulls" skopeo copy -q --insecure-policy --dest-tls-verify=false "docker-archive:$work/busybox.tar" \
	"docker://$registry/$image"
ok "crispd starts" crisp_start --set "registries={plain_http: [\"$registry\"], mirrors: {registry.k8s.io: [\"http://$registry\"]}}"
cd "$work" || exit 1
/job/critest -runtime-endpoint "unix://$sock" -ginkgo.no-color -ginkgo.focus AppArmor -ginkgo.json-report report.json \
	-runtime-service-timeout 900s >critest.out 2>&1
tail -n 30 critest.out | sed 's/^/# /' >critest.tail
states=$(python3 -c '
import collections, json
specs = [s for suite in json.load(open("report.json")) for s in suite["SpecReports"] or []]
specs = [s for s in specs if "AppArmor" in " ".join(s["ContainerHierarchyTexts"] or [])]
print(dict(collections.Counter(s["State"] for s in specs if s["State"] != "skipped")))')
ok "nine specs pass" is "$states" "{'passed': 9}" || cat critest.tail
ok "crispd stops" crisp_stop
finish
