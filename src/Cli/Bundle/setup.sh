#!/bin/sh
# Prepares AdvContrast on a machine with PyTorch (or an unpacked libtorch, named by ADVCONTRAST_LIBTORCH) and a C++
# compiler; .NET and a network are not needed. Afterwards: ./advcontrast doctor
set -eu
here=$(cd "$(dirname "$0")" && pwd)

torch=${ADVCONTRAST_LIBTORCH:-}
found=ADVCONTRAST_LIBTORCH
if [ -z "$torch" ]; then
    found=python
    torch=$(python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])" \
        2>/dev/null) || torch=
fi
include=$torch/include lib=$torch/lib

# Debian's own PyTorch and libtorch-dev are in the system's folders.
if [ -z "$torch" ] || [ ! -d "$include/torch" ] || [ ! -f "$lib/libtorch_cpu.so" ]; then
    found=system
    include=/usr/include
    lib=$(realpath "$(dirname "$(g++ -print-file-name=libtorch_cpu.so)")")
fi
if [ ! -d "$include/torch" ] || [ ! -f "$lib/libtorch_cpu.so" ]; then
    echo "there is no PyTorch; set ADVCONTRAST_LIBTORCH to a folder with include/torch and lib/libtorch_cpu.so" >&2
    exit 1
fi

sh "$here/native/build.sh" "$include" "$lib" "$here/libadvcontrast_torch.so"

fingerprint=$(stat -L -c %s-%Y "$lib/libtorch_cpu.so")
printf '{"path": "%s", "fingerprint": "%s", "found": "%s"}\n' "$lib" "$fingerprint" "$found" > "$here/libtorch.json"
echo "ready: $here/advcontrast, on the libtorch in $lib"
