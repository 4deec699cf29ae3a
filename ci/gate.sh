#!/bin/sh
# Rule: one gate for every CI: measures a build of yours beside the packaged servers, writes its reports, ends with the run's status.
#
# Usage:  GATE_IMPLEMENTATION=prosody sh s2s-testbed/ci/gate.sh        (in the folder of your Dockerfile)
#
# What is measured, one of:
#   GATE_BUILD    a folder with a Dockerfile [default: .]
#   GATE_IMAGE    an image that the engine has already
#   GATE_CONFIG   a configuration file, for the packaged server (or beside one of the two above)
#   GATE_SERVER   an implementation's folder, for a server that the testbed does not know
# and how:
#   GATE_IMPLEMENTATION  prosody, ejabberd, jabberd2; with @RELEASE the release that it is like (not with GATE_SERVER)
#   GATE_SCENARIO        [default: the testbed's scenarios/smoke.yaml]
#   GATE_BASELINE        known failures [default: baselines/<name of the scenario's file>, if it is there]
#   GATE_RESULTS         where the record goes [default: federation-results]
#   GATE_OPTIONS         more options of `testbed run`, separated by blanks
# Writes $GATE_RESULTS/{junit.xml,summary.md,report.html}. Exit status: docs/regressions.md; 0 is good.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
scenario=${GATE_SCENARIO:-$root/scenarios/smoke.yaml}
results=${GATE_RESULTS:-federation-results}
baseline=${GATE_BASELINE:-}
if [ -z "$baseline" ] && [ -f "baselines/$(basename "$scenario")" ]; then
    baseline=baselines/$(basename "$scenario")
fi

if [ -n "${TESTBED:-}" ]; then
    testbed=$TESTBED # one that is installed already
else
    make --silent -C "$root" setup
    testbed=$root/.venv/bin/testbed
fi

set -- run "$scenario" --results "$results"
if [ -n "${GATE_SERVER:-}" ]; then
    set -- "$@" --server "$GATE_SERVER"
else
    name=${GATE_IMPLEMENTATION:?say which implementation it is: GATE_IMPLEMENTATION=prosody, ejabberd, jabberd2, or NAME@RELEASE}
    if [ -n "${GATE_IMAGE:-}" ]; then
        set -- "$@" --image "$name=$GATE_IMAGE"
    elif [ -n "${GATE_BUILD:-}" ] || [ -z "${GATE_CONFIG:-}" ]; then
        set -- "$@" --build "$name=${GATE_BUILD:-.}"
    fi
    if [ -n "${GATE_CONFIG:-}" ]; then
        set -- "$@" --config "$name=$GATE_CONFIG"
    fi
fi
if [ -n "$baseline" ]; then
    set -- "$@" --baseline "$baseline"
fi

before=$(readlink "$results/latest" 2>/dev/null || true)
status=0
# shellcheck disable=SC2086  # options are words
"$testbed" "$@" ${GATE_OPTIONS:-} || status=$?

if [ "$(readlink "$results/latest" 2>/dev/null || true)" = "$before" ]; then
    echo "gate: nothing was measured (status $status)" >&2
    exit "$status"
fi
for report in junit:junit.xml markdown:summary.md html:report.html; do
    # its own status repeats the run's
    "$testbed" report latest --results "$results" --format "${report%%:*}" --output "$results/${report#*:}" || [ -s "$results/${report#*:}" ]
done
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$results/summary.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$status"
