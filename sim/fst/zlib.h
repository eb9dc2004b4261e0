// What Verilator's FST writer calls of zlib, so that waves need no library.
//
// The writer stores a block raw when compression does not make it smaller, and says so in the
// file; compress2 here never makes it smaller. The bulk of a wave goes through LZ4.
#pragma once

#include <cstring>

using uLong = unsigned long;
using uLongf = unsigned long;
using Bytef = unsigned char;

constexpr int Z_OK = 0;

inline uLong compressBound(uLong size) { return size; }

inline int compress2(Bytef* destination, uLongf* destination_size, const Bytef* source, uLong size,
                     int) {
    std::memcpy(destination, source, size);
    *destination_size = size;
    return Z_OK;
}
