#!/bin/sh
# Starts the program, or as bench.sh the benchmark, on the libtorch in the folder ADVCONTRAST_LIBTORCH or, where that is
# not set, of the PyTorch that python3 finds. .NET and a network are not needed.
set -eu
script=$(readlink -f "$0")

if [ -z "${ADVCONTRAST_LIBTORCH:-}" ]; then
    find="import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    torch=$(python3 -c "$find" 2>/dev/null) || {
        echo "advcontrast: python3 finds no PyTorch; set ADVCONTRAST_LIBTORCH to the lib folder of a PyTorch" >&2
        exit 7
    }
    export ADVCONTRAST_LIBTORCH="$torch/lib"
fi

case $(basename "$script") in
bench.sh) program=AdvContrast.Bench ;;
*) program=advcontrast ;;
esac
exec "$(dirname "$script")/lib/$program" "$@"
