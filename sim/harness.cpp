// Streams frames through a compiled hwgen_top as fast as it takes them, or with random stalls.
//
// Verilator compiles this file with the design. The class of the top and its inner streams come
// from "harness_config.h":
//
//   #include "Vhwgen_top.h"
//   using Top = Vhwgen_top;
//   #define HWGEN_TAPS(T) T(0) T(1)     // top has outputs tap<n>_tdata and tap<n>_transfer
//   #define HWGEN_FIFOS 3               // top has an output fifo_peaks, 32 bits a FIFO
//
// Files of beats hold each beat as its little-endian bytes. Time is counted in clocks; clock 0 is
// the first one after reset. stdout carries one record per line:
//
//   progress IN OUT                     beats so far
//   input FIRST LAST                    clocks of a frame's first and last input beat
//   output LAST                         clock of a frame's last output beat
//   error TEXT                          the design deadlocked or broke the stream contract
//   fifo N PEAK                         most beats that FIFO N held
//   done CLOCKS
//
// With --single 1 a frame's first beat waits for the last output beat of the frame before it.

#include <verilated.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness_config.h"

#if VM_TRACE_FST
#include <verilated_fst_c.h>
#endif

double sc_time_stamp() { return 0; }

namespace {

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::exit(2);
}

// --name value pairs of the command line.
class Options {
  public:
    Options(int argc, char** argv) {
        for (int i = 1; i + 1 < argc; i += 2) values_[argv[i]] = argv[i + 1];
    }
    std::string text(const std::string& name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) fail("option " + name + " is missing");
        return found->second;
    }
    uint64_t number(const std::string& name) const {
        return std::strtoull(text(name).c_str(), nullptr, 10);
    }
    double real(const std::string& name) const { return std::strtod(text(name).c_str(), nullptr); }

  private:
    std::map<std::string, std::string> values_;
};

// SplitMix64: the same stalls from the same seed on every machine.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    uint64_t below(uint64_t bound) { return bound ? next() % bound : 0; }
    bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }

  private:
    uint64_t state_;
};

// When one end of the design stalls: each clock with probability p, and once a frame, at a random
// beat, for up to `longest` clocks in a row, so that pressure reaches the far end.
class Stalls {
  public:
    Stalls(double p, uint64_t seed, uint64_t beats, uint64_t longest)
        : random_(seed), p_(p), beats_(beats), longest_(longest) {
        plan();
    }
    bool stalled() {
        if (p_ == 0) return false;
        if (rest_ > 0) return --rest_, true;
        return random_.chance(p_);
    }
    void transferred() {
        if (p_ == 0) return;
        if (beat_ == long_at_) rest_ = random_.below(longest_ + 1);
        if (++beat_ == beats_) plan();
    }

  private:
    void plan() {
        beat_ = 0;
        long_at_ = random_.below(beats_);
    }
    Random random_;
    double p_;
    uint64_t beats_, longest_;
    uint64_t beat_ = 0, long_at_ = 0, rest_ = 0;
};

class File {
  public:
    File(const std::string& path, const char* mode) : file_(std::fopen(path.c_str(), mode)) {
        if (!file_) fail(path + ": can't be opened");
        std::setvbuf(file_, nullptr, _IOFBF, 1 << 20);
    }
    ~File() { std::fclose(file_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    bool read(std::vector<uint8_t>& beat) {
        return std::fread(beat.data(), 1, beat.size(), file_) == beat.size();
    }
    void write(const void* bytes, size_t count) {
        if (std::fwrite(bytes, 1, count, file_) != count) fail("disk full");
    }

  private:
    std::FILE* file_;
};

// Ports of all widths (CData to VlWide) keep their bits in little-endian order, unused ones zero.
template <class Port>
void set_port(Port& port, const std::vector<uint8_t>& beat) {
    static_assert(std::is_trivially_destructible<Port>::value, "plain bits");
    std::memcpy(reinterpret_cast<uint8_t*>(&port), beat.data(), beat.size());
}

template <class Port>
bool same_bits(const Port& port, const std::vector<uint8_t>& beat) {
    return std::memcmp(reinterpret_cast<const uint8_t*>(&port), beat.data(), beat.size()) == 0;
}

template <class Port>
void get_port(const Port& port, std::vector<uint8_t>& beat) {
    std::memcpy(beat.data(), reinterpret_cast<const uint8_t*>(&port), beat.size());
}

class Bench {
  public:
    Bench(const Options& options, VerilatedContext& context)
        : context_(context),
          top_(&context),
          frames_(options.number("--frames")),
          in_beats_(options.number("--in-beats")),
          out_beats_(options.number("--out-beats")),
          watchdog_(options.number("--watchdog")),
          single_(options.number("--single")),
          word_in_(options.number("--in-bytes")),
          word_out_(options.number("--out-bytes")),
          input_(options.text("--input"), "rb"),
          output_(options.text("--output"), "wb"),
          source_stalls_(options.real("--stall"), options.number("--seed") * 2 + 1, in_beats_,
                         options.number("--longest-stall")),
          sink_stalls_(options.real("--stall"), options.number("--seed") * 2 + 2, out_beats_,
                       options.number("--longest-stall")) {
        if (word_in_.size() > sizeof top_.s_axis_tdata) fail("input beats are wider than the port");
        if (word_out_.size() > sizeof top_.m_axis_tdata) fail("output beats are wider than the port");
#define HWGEN_OPEN(n)                                                           \
    taps_.emplace_back(new File(options.text("--tap" #n), "wb"));               \
    tap_words_.emplace_back(options.number("--tap" #n "-bytes"));
        HWGEN_TAPS(HWGEN_OPEN)
#if VM_TRACE_FST
        context_.traceEverOn(true);
        top_.trace(&wave_, 99);
        wave_.open(options.text("--wave").c_str());
#endif
    }

    // True when every frame came out and the stream contract held.
    bool run() {
        reset();
        const uint64_t all_in = frames_ * in_beats_, all_out = frames_ * out_beats_;
        uint64_t quiet = 0, after_end = 0;
        for (clock_ = 0; after_end < settle_clocks; ++clock_) {
            drive(all_in);
            edge(0);
            const uint64_t moved = in_ + out_;
            if (!sample(all_out)) return false;
            edge(1);
            quiet = in_ + out_ == moved ? quiet + 1 : 0;
            if (in_ == all_in && out_ == all_out)
                ++after_end;
            else if (quiet >= watchdog_)
                return deadlock(all_in, all_out);
            if ((clock_ & 0xffff) == 0xffff) report_progress();
        }
        report_progress();
        report_fifos();
        std::printf("done %llu\n", ull(last_output_ + 1));
        return true;
    }

    ~Bench() {
        top_.final();
#if VM_TRACE_FST
        wave_.close();
#endif
    }

  private:
    static constexpr uint64_t reset_clocks = 8;
    static constexpr uint64_t settle_clocks = 64;  // spurious beats behind the last frame show up

    static unsigned long long ull(uint64_t x) { return x; }
    static std::string count(uint64_t a, uint64_t b) {
        return std::to_string(a) + " of " + std::to_string(b);
    }

    void edge(int level) {
        top_.clk = level;
        top_.eval();
#if VM_TRACE_FST
        wave_.dump(time_++);
#endif
    }

    void reset() {
        top_.rst = 1;
        top_.s_axis_tvalid = 0;
        top_.s_axis_tlast = 0;
        top_.m_axis_tready = 0;
        for (uint64_t n = 0; n < reset_clocks; ++n) edge(0), edge(1);
        top_.rst = 0;
    }

    // Inputs for the coming clock edge. A beat that is offered stays until it is taken.
    void drive(uint64_t all_in) {
        const bool held = top_.s_axis_tvalid && !taken_;
        const bool stalled = source_stalls_.stalled();
        if (!held) {
            const bool waits = single_ && in_ % in_beats_ == 0 && out_ < in_ / in_beats_ * out_beats_;
            top_.s_axis_tvalid = in_ < all_in && !stalled && !waits;
            if (top_.s_axis_tvalid) {
                if (!input_.read(word_in_)) fail("input file is too short");
                set_port(top_.s_axis_tdata, word_in_);
                top_.s_axis_tlast = in_ % in_beats_ == in_beats_ - 1;
            }
        }
        top_.m_axis_tready = !sink_stalls_.stalled();
    }

    // What the coming clock edge transfers.
    bool sample(uint64_t all_out) {
        taken_ = top_.s_axis_tvalid && top_.s_axis_tready;
        if (taken_) {
            if (in_ % in_beats_ == 0) first_input_ = clock_;
            ++in_;
            if (in_ % in_beats_ == 0)
                std::printf("input %llu %llu\n", ull(first_input_), ull(clock_));
            source_stalls_.transferred();
        }
#define HWGEN_RECORD(n)                                      \
    if (top_.tap##n##_transfer) {                            \
        get_port(top_.tap##n##_tdata, tap_words_[n]);        \
        taps_[n]->write(tap_words_[n].data(), tap_words_[n].size()); \
    }
        HWGEN_TAPS(HWGEN_RECORD)
        const uint64_t frame = out_ / out_beats_, beat = out_ % out_beats_;
        if (waiting_) {
            const char* broken = !top_.m_axis_tvalid                         ? "m_axis_tvalid fell"
                                 : !same_bits(top_.m_axis_tdata, word_out_)  ? "m_axis_tdata changed"
                                 : top_.m_axis_tlast != last_ ? "m_axis_tlast changed"
                                                              : nullptr;
            if (broken) return error_at_beat(broken + std::string(" while m_axis_tready was low"));
        }
        waiting_ = top_.m_axis_tvalid && !top_.m_axis_tready;
        if (!top_.m_axis_tvalid) return true;
        get_port(top_.m_axis_tdata, word_out_);
        last_ = top_.m_axis_tlast;
        if (waiting_) return true;
        if (out_ == all_out)
            return error_at_beat("the design sends more than " + std::to_string(frames_) +
                                 " frames for " + std::to_string(frames_));
        if (last_ != (beat == out_beats_ - 1))
            return error_at_beat("m_axis_tlast is " + std::to_string(int(last_)) +
                                 ", but beat " + std::to_string(out_beats_ - 1) +
                                 " is the last of a frame");
        output_.write(word_out_.data(), word_out_.size());
        ++out_;
        sink_stalls_.transferred();
        if (beat == out_beats_ - 1) {
            last_output_ = clock_;
            // A frame may end before its last input beat, which it may not need.
            if (frame * in_beats_ >= in_)
                return error_at_beat("the frame ends before its first input beat");
            std::printf("output %llu\n", ull(clock_));
        }
        return true;
    }

    bool error(const std::string& text) {
        std::printf("error %s\n", text.c_str());
        return false;
    }

    bool error_at_beat(const std::string& text) {
        return error("frame " + std::to_string(out_ / out_beats_) + ", output beat " +
                     std::to_string(out_ % out_beats_) + " (clock " + std::to_string(clock_) +
                     "): " + text);
    }

    bool deadlock(uint64_t all_in, uint64_t all_out) {
        return error("no beat moved for " + std::to_string(watchdog_) + " clocks, after " +
                     count(in_, all_in) + " input beats and " + count(out_, all_out) +
                     " output beats");
    }

    void report_progress() {
        std::printf("progress %llu %llu\n", ull(in_), ull(out_));
        std::fflush(stdout);
    }

    void report_fifos() {
#if HWGEN_FIFOS
        uint32_t peaks[HWGEN_FIFOS];
        std::memcpy(peaks, &top_.fifo_peaks, sizeof peaks);
        for (int n = 0; n < HWGEN_FIFOS; ++n) std::printf("fifo %d %u\n", n, peaks[n]);
#endif
    }

    VerilatedContext& context_;
    Top top_;
#if VM_TRACE_FST
    VerilatedFstC wave_;
    uint64_t time_ = 0;
#endif
    const uint64_t frames_, in_beats_, out_beats_, watchdog_;
    const bool single_;
    std::vector<uint8_t> word_in_, word_out_;
    File input_, output_;
    Stalls source_stalls_, sink_stalls_;
    std::vector<std::unique_ptr<File>> taps_;
    std::vector<std::vector<uint8_t>> tap_words_;
    uint64_t clock_ = 0, in_ = 0, out_ = 0, first_input_ = 0, last_output_ = 0;
    bool taken_ = false, waiting_ = false, last_ = false;
};

}  // namespace

int main(int argc, char** argv) {
    const Options options(argc, argv);
    VerilatedContext context;
    // Registers and memories without an initial value start at random ones.
    context.randReset(2);
    context.randSeed(static_cast<int>(options.number("--seed") % 0x7fffffff + 1));
    Bench bench(options, context);
    return bench.run() ? 0 : 1;
}
