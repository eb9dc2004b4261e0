// LZ4 block compression for Verilator's FST writer, so that waves need no library.
//
// The format is a run of sequences: a token (literal count, match length), the literals, and the
// distance back to the match. The end of a block is literals only: the last match starts at least
// 12 bytes before the end and leaves the last 5 bytes alone.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// Compress `size` bytes; the destination has room for LZ4_compressBound(size).
inline int LZ4_compress_default(const char* source, char* destination, int size, int) {
    constexpr int min_match = 4, end_literals = 5, end_margin = 12, hash_bits = 14;
    const auto* in = reinterpret_cast<const uint8_t*>(source);
    auto* out = reinterpret_cast<uint8_t*>(destination);
    std::vector<int> last_seen(1 << hash_bits, -1);
    const auto word_at = [in](int at) {
        uint32_t word;
        std::memcpy(&word, in + at, 4);
        return word;
    };
    const auto put_length = [&out](int length) {
        for (; length >= 255; length -= 255) *out++ = 255;
        *out++ = static_cast<uint8_t>(length);
    };
    // Literals up to `end`, then a match of `length` bytes at `distance`; length 0 for none.
    const auto put_sequence = [&](int start, int end, int length, int distance) {
        const int literals = end - start, extra = length ? length - min_match : 0;
        *out++ = static_cast<uint8_t>((literals < 15 ? literals : 15) << 4 |
                                      (extra < 15 ? extra : 15));
        if (literals >= 15) put_length(literals - 15);
        std::memcpy(out, in + start, literals);
        out += literals;
        if (!length) return;
        *out++ = static_cast<uint8_t>(distance);
        *out++ = static_cast<uint8_t>(distance >> 8);
        if (extra >= 15) put_length(extra - 15);
    };
    int start = 0;
    for (int at = 0; at < size - end_margin;) {
        int& seen = last_seen[word_at(at) * 2654435761u >> (32 - hash_bits)];
        const int candidate = seen;
        seen = at;
        if (candidate < 0 || at - candidate > 65535 || word_at(candidate) != word_at(at)) {
            ++at;
            continue;
        }
        int length = min_match;
        while (at + length < size - end_literals && in[candidate + length] == in[at + length])
            ++length;
        put_sequence(start, at, length, at - candidate);
        start = at += length;
    }
    put_sequence(start, size, 0, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(destination));
}
