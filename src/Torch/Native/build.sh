#!/bin/sh
# Compiles the bridge to a libtorch: build.sh INCLUDE LIB OUT, the folders of its headers and libraries and the
# library to write.
set -eu
include=$1 lib=$2 out=$3
source=$(dirname "$0")/bridge.cpp

# Which of its two strings libtorch was compiled with: the names of its own functions tell.
abi=1
if grep -qa c105ErrorC1ENS_14SourceLocationESs "$lib/libc10.so"; then abi=0; fi

# Newer headers ask for the later standard, in words.
standard=c++17
if grep -q "C++20 or later" "$include/ATen/ATen.h"; then standard=c++20; fi

g++ -O2 -std=$standard -shared -fPIC -Wno-deprecated-declarations -D_GLIBCXX_USE_CXX11_ABI=$abi \
    "$source" -I "$include" -I "$include/torch/csrc/api/include" \
    -Wl,--no-as-needed -L "$lib" -Wl,-rpath,"$lib" -ltorch -ltorch_cpu -lc10 -o "$out.new"
mv "$out.new" "$out"
