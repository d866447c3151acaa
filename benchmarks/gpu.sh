#!/usr/bin/env bash
# Tests, speed and two trainings on a machine with a GPU, PyTorch, torchvision and no network, in nine minutes:
#
#     benchmarks/gpu.sh --images cifar10-jpeg.tar.xz --wheels wheels --out found
#     python benchmarks/gpu_report.py found        # anywhere: benchmarks/results/gpu-<card>/
#
# --images ARCHIVE    CIFAR-10 as files train/<class>/*.jpg and test/<class>/*.jpg; without it nothing is trained
# --wheels FOLDER     packages that the machine lacks, as benchmarks/gpu_wheels.txt says; they are unpacked, not installed
# --out FOLDER        where gpu.json, log.txt and the results of the networks go (gpu)
# --steps LIST        only these; results of networks need the step that trains them
# --scale rehearsal   everything with tiny networks and counts, in a minute and also without a GPU
#
# What is done, step by step: benchmarks/gpu/steps.py. PYTHON names another interpreter than python3.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
words=() wheels=
while [ $# -gt 0 ]; do
    case $1 in
    --wheels) wheels=${2:?--wheels needs a folder} && shift 2 ;;
    *) words+=("$1") && shift ;;
    esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
site=$work/site
mkdir -p "$site/robustcsc"
ln -s "$root"/robustcsc/* "$root/cli" "$root/corruption_specs" "$site/robustcsc/" # as an installation lays them out
if [ -n "$wheels" ]; then
    for wheel in "$wheels"/*.whl; do
        "$python" -m zipfile -e "$wheel" "$site"
    done
fi
modules=$root/benchmarks/gpu:$root/benchmarks
export PYTHONSAFEPATH=1 # the folder it is started in has a robustcsc, too, which is no installed one
PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}:$modules PYTHONUNBUFFERED=1 ROBUSTCSC_CACHE=$work \
    "$python" "$root/benchmarks/gpu" --work "$work" "${words[@]}"
