#!/bin/sh
# Compiles the bridge to a libtorch: build.sh INCLUDE LIB OUT, the folders of its headers and libraries and the
# library to write.
set -eu
include=$1 lib=$2 out=$3
source=$(dirname "$0")/bridge.cpp

# Which of its two strings libtorch was compiled with: the names of its own functions tell.
abi=1
if grep -qa c105ErrorC1ENS_14SourceLocationESs "$lib/libc10.so"; then abi=0; fi

compile() {
    g++ -O2 -std="$1" -shared -fPIC -Wno-deprecated-declarations -D_GLIBCXX_USE_CXX11_ABI=$abi \
        "$source" -I "$include" -I "$include/torch/csrc/api/include" \
        -Wl,--no-as-needed -L "$lib" -Wl,-rpath,"$lib" -ltorch -ltorch_cpu -lc10 -o "$out.new"
}

# A libtorch of these days may ask for the later standard.
compile c++17 || compile c++20
mv "$out.new" "$out"
