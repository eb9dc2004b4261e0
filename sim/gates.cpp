// Simulates a mapped netlist and counts how often each net toggles.
//
// hwgen/gates.py writes the netlist: LUTs, flip-flops, memories and DSP slices, whatever the chip.
// In each clock the registers change at once, and their changes move on in steps: a LUT passes its
// change on in the next step, a carry chain or a multiplexer behind a LUT within the step. What a
// net does on its way to its last value of the clock are glitches: the two counts differ by them.
//
// --netlist FILE      numbers of 64 bits, as read below
// --input, --output   beats, each as its little-endian bytes; the frames of the input come in turns
// --counts FILE       of the clocks between the last beat of frame `skip` - 1 and that of the last
//                     frame: settled toggles and all transitions of each net, shifts of each shift
//                     register, writes of each LUT RAM, enabled clocks of each port of each block
//                     RAM
//
// stdout carries the records of harness.cpp, and "counted CLOCKS".

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

using Net = int64_t;
using Nets = std::vector<Net>;

[[noreturn]] void fail(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::exit(2);
}

std::vector<char> contents(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) fail(path + ": can't be opened");
    std::fseek(file, 0, SEEK_END);
    std::vector<char> bytes(static_cast<size_t>(std::ftell(file)));
    std::rewind(file);
    if (std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) fail(path + ": too short");
    std::fclose(file);
    return bytes;
}

// The numbers of the netlist, in turn.
class Numbers {
  public:
    explicit Numbers(const std::string& path) : bytes_(contents(path)) {}
    int64_t next() {
        int64_t value;
        if (at_ + sizeof value > bytes_.size()) fail("the netlist is too short");
        std::memcpy(&value, bytes_.data() + at_, sizeof value);
        at_ += sizeof value;
        return value;
    }
    size_t count() { return static_cast<size_t>(next()); }
    Nets list() {
        Nets values(count());
        for (Net& value : values) value = next();
        return values;
    }

  private:
    std::vector<char> bytes_;
    size_t at_ = 0;
};

enum Kind : uint8_t { kLut, kFlipFlop, kShift, kRam, kSlice, kMultiplier };

// Something that follows its inputs.
struct Cell {
    uint64_t table = 0;  // of a flip-flop: what reset makes it
    uint32_t out = 0;    // net of a LUT or flip-flop; else which memory or slice
    Kind kind = kLut;
};

// What of a cell a toggling net looks at: kept small, as it is most of the work.
struct State {
    uint16_t index = 0;  // inputs of a LUT, or address of a memory, kept up to date as nets toggle
    uint8_t queued = 0;
};

// Cells that wait. They are put in without a branch, which would be predicted wrongly too often.
class Queue {
  public:
    void reserve(size_t count) { cells_.resize(count + 1); }
    void push_if(uint32_t value, bool wanted) {
        cells_[size_] = value;
        size_ += wanted;
    }
    void push(uint32_t value) { push_if(value, true); }
    bool empty() const { return size_ == 0; }
    void clear() { size_ = 0; }
    void swap(Queue& other) { cells_.swap(other.cells_), std::swap(size_, other.size_); }
    const uint32_t* begin() const { return cells_.data(); }
    const uint32_t* end() const { return cells_.data() + size_; }

  private:
    std::vector<uint32_t> cells_;
    size_t size_ = 0;
};

// Flip-flops with the same enable and reset. Those whose input changed wait until they are enabled,
// so that an enable that toggles reaches them all at no cost.
struct ControlSet {
    Net enable, reset;
    std::vector<uint32_t> members;
    Queue waiting;
};

// Kinds of sinks of a net, each treated in a loop of its own.
enum Group { kAtEdge, kNextStep, kAtOnce, kOther, kGroups };

// A pin that a net reaches: the cell, and which bit of its index.
struct Sink {
    uint32_t cell : 28;
    uint32_t bit : 4;
};

// All that a change of a net needs, in one place of the cache. Its sinks lie from `first` on, by
// group.
struct NetState {
    uint32_t first = 0, changes = 0;
    uint16_t at_edge = 0, next_step = 0, others = 0;
    uint8_t value = 0;
    uint8_t clock = 0;  // in this clock: bit 0, its value is another than at the start; 1, changed
};

struct ShiftRegister {
    Net q, last, d, enable;
    uint64_t bits;
    uint32_t cell;
};

struct LutRam {
    Net write;
    Nets write_address, in, out;
    std::vector<std::vector<uint64_t>> bits;  // by bit of the word
    uint32_t cell;
};

struct PortBit {
    Net in, out, write;
    size_t base, stride;  // bit of the memory: base + address * stride
    bool reset, latched, registered;
};

struct BlockPort {
    Net enable, register_enable, reset, register_reset;
    int64_t mode;  // on a write the output is 0: the new word, 1: the old one, 2: kept
    bool has_register;
    Nets address;
    std::vector<PortBit> bits;
    uint64_t enabled = 0, last_address = ~uint64_t(0);
    bool writes = false;
};

struct BlockRam {
    std::vector<uint8_t> bits;
    std::vector<BlockPort> ports;
};

// A DSP48E1; docs: UG479. A net of -1 is 0.
struct Slice {
    Nets a, b, c, d, pcin, opmode, alumode, inmode, p, pcout, acout, bcout;
    Net carry, ce_a1, ce_a2, ce_b1, ce_b2, ce_c, ce_d, ce_ad, ce_m, ce_p;
    Net rst_a, rst_b, rst_c, rst_d, rst_m, rst_p;
    int64_t a_regs, b_regs, c_reg, d_reg, ad_reg, m_reg, p_reg, d_port, multiply, a_cascade,
        b_cascade;
    int64_t a1 = 0, a2 = 0, b1 = 0, b2 = 0, c_held = 0, d_held = 0, ad_held = 0, m_held = 0,
            p_held = 0;
    uint32_t cell;
};

struct Multiplier {
    Nets a, b, p;
    Net signed_a, signed_b;
    uint32_t cell;
};

class Netlist {
  public:
    explicit Netlist(Numbers& in) {
        const size_t nets = in.count();
        nets_.resize(nets), settled_.resize(nets);
        sinks_.resize(nets);
        read_luts(in), read_flip_flops(in), read_shifts(in), read_rams(in), read_blocks(in);
        read_slices(in), read_multipliers(in);
        start();
    }

    bool at(Net net) const { return net >= 0 && nets_[static_cast<size_t>(net)].value; }

    // From outside, like a register that changes at the clock edge.
    void set(Net net, bool to) { now_.push_if(static_cast<uint32_t>(net), at(net) != to); }

    // What the clock edge does. The changes show in propagate().
    void edge() {
        for (ControlSet& flip_flops : sets_) clock(flip_flops);
        for (size_t n = 0; n < shifts_.size(); ++n) shift(n);
        for (size_t n = 0; n < rams_.size(); ++n) write(n);
        for (BlockRam& block : blocks_) clock(block);
        for (Slice& slice : slices_) clock(slice);
    }

    void propagate() {
        for (int steps = 0; !(now_.empty() && later_.empty() && others_.empty()); ++steps) {
            if (steps > 10000) fail("the netlist oscillates");
            for (uint32_t net : now_) toggle(net);
            now_.clear();
            for (size_t rank = 1; rank <= highest_; ++rank) {  // highest_ may grow meanwhile
                for (uint32_t id : at_once_[rank]) {
                    const Cell& cell = cells_[id];
                    states_[id].queued = 0;
                    if ((cell.table >> states_[id].index & 1) != nets_[cell.out].value)
                        toggle(cell.out);
                }
                at_once_[rank].clear();
            }
            highest_ = 0;
            for (uint32_t id : later_) {
                const Cell& cell = cells_[id];
                states_[id].queued = 0;
                set(cell.out, cell.table >> states_[id].index & 1);
            }
            later_.clear();
            for (uint32_t id : others_) evaluate(id);
            others_.clear();
        }
        for (uint32_t net : changed_) {
            settled_[net] += nets_[net].clock & counting;
            nets_[net].clock = 0;
        }
        changed_.clear();
    }

    void write_counts(const std::string& path) const {
        std::vector<uint64_t> counts(settled_.begin(), settled_.end());
        for (const NetState& net : nets_) counts.push_back(net.changes);
        counts.insert(counts.end(), shifted_.begin(), shifted_.end());
        counts.insert(counts.end(), written_.begin(), written_.end());
        for (const BlockRam& block : blocks_)
            for (const BlockPort& port : block.ports) counts.push_back(port.enabled);
        std::FILE* file = std::fopen(path.c_str(), "wb");
        if (!file || std::fwrite(counts.data(), 8, counts.size(), file) != counts.size() ||
            std::fclose(file))
            fail("disk full");
    }

    bool counting = false;

  private:
    uint32_t add(Kind kind, uint64_t out, uint64_t table = 0, uint16_t rank = 0) {
        Cell cell;
        cell.kind = kind, cell.out = static_cast<uint32_t>(out), cell.table = table;
        cells_.push_back(cell);
        ranks_.push_back(rank);
        return static_cast<uint32_t>(cells_.size() - 1);
    }
    void reads(uint32_t cell, const Nets& nets, bool index = true) {
        for (size_t n = 0; n < nets.size(); ++n)
            if (nets[n] > 0)  // not the constant 0, which never changes
                sinks_[static_cast<size_t>(nets[n])].push_back(
                    {cell, static_cast<uint32_t>(index ? n : no_bit)});
    }

    void read_luts(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            const uint64_t out = in.count();
            const uint16_t rank = static_cast<uint16_t>(in.next());
            const uint64_t table = static_cast<uint64_t>(in.next());
            if (at_once_.size() <= rank) at_once_.resize(rank + 1u);
            reads(add(kLut, out, table, rank), in.list());
        }
    }
    void read_flip_flops(Numbers& in) {
        std::map<std::pair<Net, Net>, size_t> known;
        for (size_t n = in.count(); n > 0; --n) {
            const uint64_t q = in.count();
            const bool to = in.next(), first = in.next();
            const Net d = in.next(), enable = in.next(), reset = in.next();
            const auto found = known.emplace(std::make_pair(enable, reset), sets_.size());
            if (found.second) sets_.push_back({enable, reset, {}, {}});
            const size_t set = found.first->second;
            const uint32_t id = add(kFlipFlop, q, to, static_cast<uint16_t>(set));
            sets_[set].members.push_back(id);
            reads(id, {d});
            if (first) first_.push_back(static_cast<uint32_t>(q));
        }
    }
    void read_shifts(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            ShiftRegister s;
            s.q = in.next(), s.last = in.next(), s.d = in.next(), s.enable = in.next();
            s.bits = static_cast<uint64_t>(in.next());
            s.cell = add(kShift, shifts_.size());
            reads(s.cell, in.list());
            if (s.last >= 0 && s.bits >> 31 & 1) first_.push_back(static_cast<uint32_t>(s.last));
            shifts_.push_back(s);
        }
        shifted_.resize(shifts_.size());
    }
    void read_rams(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            LutRam ram;
            ram.write = in.next();
            ram.write_address = in.list(), ram.in = in.list(), ram.out = in.list();
            ram.cell = add(kRam, rams_.size());
            reads(ram.cell, in.list());
            for (size_t bit = 0; bit < ram.out.size(); ++bit) {
                const Nets words = in.list();
                ram.bits.emplace_back(words.begin(), words.end());
            }
            rams_.push_back(ram);
        }
        written_.resize(rams_.size());
    }
    void read_blocks(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            BlockRam block;
            for (int64_t word : in.list())
                for (int bit = 0; bit < 64; ++bit) block.bits.push_back(word >> bit & 1);
            for (size_t ports = in.count(); ports > 0; --ports) {
                BlockPort port;
                port.enable = in.next(), port.register_enable = in.next();
                port.reset = in.next(), port.register_reset = in.next();
                port.mode = in.next(), port.has_register = in.next();
                port.address = in.list();
                for (size_t bits = in.count(); bits > 0; --bits) {
                    PortBit bit;
                    bit.in = in.next(), bit.out = in.next(), bit.write = in.next();
                    bit.base = in.count(), bit.stride = in.count();
                    bit.reset = in.next();
                    bit.latched = bit.registered = in.next();
                    if (bit.latched && bit.out >= 0)
                        first_.push_back(static_cast<uint32_t>(bit.out));
                    port.writes |= bit.write != 0;
                    port.bits.push_back(bit);
                }
                block.ports.push_back(port);
            }
            blocks_.push_back(block);
        }
    }
    void read_slices(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            Slice s;
            for (Nets* nets : {&s.a, &s.b, &s.c, &s.d, &s.pcin, &s.opmode, &s.alumode, &s.inmode,
                               &s.p, &s.pcout, &s.acout, &s.bcout})
                *nets = in.list();
            for (Net* net : {&s.carry, &s.ce_a1, &s.ce_a2, &s.ce_b1, &s.ce_b2, &s.ce_c, &s.ce_d,
                             &s.ce_ad, &s.ce_m, &s.ce_p, &s.rst_a, &s.rst_b, &s.rst_c, &s.rst_d,
                             &s.rst_m, &s.rst_p})
                *net = in.next();
            for (int64_t* number : {&s.a_regs, &s.b_regs, &s.c_reg, &s.d_reg, &s.ad_reg, &s.m_reg,
                                    &s.p_reg, &s.d_port, &s.multiply, &s.a_cascade, &s.b_cascade})
                *number = in.next();
            s.cell = add(kSlice, slices_.size());
            if (!s.p_reg || !s.a_cascade || !s.b_cascade)
                for (const Nets* nets : {&s.a, &s.b, &s.c, &s.d, &s.pcin, &s.opmode, &s.alumode,
                                         &s.inmode})
                    reads(s.cell, *nets, false);
            slices_.push_back(s);
        }
    }
    void read_multipliers(Numbers& in) {
        for (size_t n = in.count(); n > 0; --n) {
            Multiplier m;
            m.a = in.list(), m.b = in.list(), m.p = in.list();
            m.signed_a = in.next(), m.signed_b = in.next();
            m.cell = add(kMultiplier, multipliers_.size());
            for (const Nets* nets : {&m.a, &m.b}) reads(m.cell, *nets, false);
            multipliers_.push_back(m);
        }
    }

    Group group(uint32_t id) const {
        const Kind kind = cells_[id].kind;
        if (kind == kFlipFlop) return kAtEdge;
        return kind != kLut ? kOther : ranks_[id] ? kAtOnce : kNextStep;
    }
    void flatten_sinks() {
        for (size_t net = one + 1; net < sinks_.size(); ++net) {
            const std::vector<Sink>& sinks = sinks_[net];
            if (sinks.size() > 0xffff) fail("a net of the netlist reaches more than 65535 pins");
            NetState& state = nets_[net];
            state.first = static_cast<uint32_t>(all_sinks_.size());
            for (int wanted = 0; wanted < kGroups; ++wanted)
                for (const Sink& sink : sinks)
                    if (group(sink.cell) == wanted) {
                        all_sinks_.push_back(sink);
                        ++(wanted == kAtEdge     ? state.at_edge
                           : wanted == kNextStep ? state.next_step
                                                 : state.others);
                    }
        }
        all_sinks_.push_back({0, 0});  // so that each net's first one is there
        sinks_.clear();
        sinks_.shrink_to_fit();
    }
    void start() {
        states_.resize(cells_.size());
        nets_[one].value = 1;
        for (const Sink& sink : sinks_[one]) states_[sink.cell].index ^= 1u << sink.bit;
        flatten_sinks();
        for (Queue* queue : {&later_, &others_}) queue->reserve(cells_.size());
        for (ControlSet& set : sets_) set.waiting.reserve(set.members.size());
        now_.reserve(nets_.size()), changed_.reserve(nets_.size());
        std::vector<size_t> count(at_once_.size());
        for (uint32_t id = 0; id < cells_.size(); ++id)
            if (group(id) == kAtOnce) ++count[ranks_[id]];
        for (size_t rank = 1; rank < count.size(); ++rank) at_once_[rank].reserve(count[rank]);
        for (uint32_t net : first_) now_.push(net);
        for (uint32_t id = 0; id < cells_.size(); ++id) queue(id);
        propagate();
    }

    void queue(uint32_t id) {
        if (states_[id].queued) return;
        states_[id].queued = 1;
        const Group to = group(id);
        if (to == kAtOnce) {
            at_once_[ranks_[id]].push(id);
            if (ranks_[id] > highest_) highest_ = ranks_[id];
        } else {
            (to == kAtEdge ? sets_[ranks_[id]].waiting : to == kOther ? others_ : later_).push(id);
        }
    }
    void reach(const Sink& sink, Queue& queue) {
        State& state = states_[sink.cell];
        state.index ^= static_cast<uint16_t>(1u << sink.bit);
        queue.push_if(sink.cell, !state.queued);
        state.queued = 1;
    }
    void toggle(uint32_t net) {
        NetState& state = nets_[net];
        changed_.push_if(net, !state.clock);
        state.value ^= 1;
        state.clock = static_cast<uint8_t>((state.clock ^ 1) | 2);
        state.changes += counting;
        const Sink* sink = &all_sinks_[state.first];
        for (const Sink* end = sink + state.at_edge; sink != end; ++sink)
            reach(*sink, sets_[ranks_[sink->cell]].waiting);
        for (const Sink* end = sink + state.next_step; sink != end; ++sink) reach(*sink, later_);
        for (const Sink* end = sink + state.others; sink != end; ++sink) {
            states_[sink->cell].index ^= static_cast<uint16_t>(1u << sink->bit);
            queue(sink->cell);
        }
    }

    // Changes of what a cell drives, for the next step.
    void evaluate(uint32_t id) {
        const Cell& cell = cells_[id];
        const unsigned index = states_[id].index;
        states_[id].queued = 0;
        if (cell.kind == kShift) {
            const ShiftRegister& s = shifts_[cell.out];
            if (s.q >= 0) set(s.q, s.bits >> index & 1);
        } else if (cell.kind == kRam) {
            show(rams_[cell.out], index);
        } else if (cell.kind == kSlice) {
            show(slices_[cell.out]);
        } else {
            const Multiplier& m = multipliers_[cell.out];
            drive(m.p, number(m.a, at(m.signed_a)) * number(m.b, at(m.signed_b)));
        }
    }

    uint64_t unsigned_number(const Nets& nets) const {
        uint64_t sum = 0;
        for (size_t n = 0; n < nets.size(); ++n) sum |= uint64_t(at(nets[n])) << n;
        return sum;
    }
    int64_t number(const Nets& nets, bool is_signed = true) const {
        uint64_t sum = unsigned_number(nets);
        if (is_signed && !nets.empty() && at(nets.back()) && nets.size() < 64)
            sum |= ~uint64_t(0) << nets.size();
        return static_cast<int64_t>(sum);
    }
    void drive(const Nets& nets, int64_t word) {
        for (size_t n = 0; n < nets.size(); ++n)
            if (nets[n] >= 0) set(nets[n], word >> n & 1);
    }

    void clock(ControlSet& set) {
        if (at(set.reset)) {
            for (uint32_t id : set.members) {
                this->set(cells_[id].out, cells_[id].table);
                queue(id);
            }
        } else if (at(set.enable)) {
            for (uint32_t id : set.waiting) {
                states_[id].queued = 0;
                this->set(cells_[id].out, states_[id].index);
            }
            set.waiting.clear();
        }
    }
    void shift(size_t n) {
        ShiftRegister& s = shifts_[n];
        if (!at(s.enable)) return;
        if (counting) ++shifted_[n];
        s.bits = (s.bits << 1 | uint64_t(at(s.d))) & 0xffffffff;
        if (s.q >= 0) set(s.q, s.bits >> states_[s.cell].index & 1);
        if (s.last >= 0) set(s.last, s.bits >> 31 & 1);
    }
    void show(const LutRam& ram, unsigned address) {
        for (size_t bit = 0; bit < ram.out.size(); ++bit) {
            const uint64_t word = ram.bits[bit][address / 64];
            if (ram.out[bit] >= 0) set(ram.out[bit], word >> address % 64 & 1);
        }
    }
    void write(size_t n) {
        LutRam& ram = rams_[n];
        if (!at(ram.write)) return;
        if (counting) ++written_[n];
        const uint64_t address = unsigned_number(ram.write_address);
        for (size_t bit = 0; bit < ram.in.size(); ++bit) {
            uint64_t& word = ram.bits[bit][address / 64];
            const uint64_t mask = uint64_t(1) << address % 64;
            word = at(ram.in[bit]) ? word | mask : word & ~mask;
        }
        show(ram, states_[ram.cell].index);
    }

    // All ports read before any writes.
    void clock(BlockRam& block) {
        for (BlockPort& port : block.ports) read(block, port);
        for (BlockPort& port : block.ports) {
            if (!at(port.enable)) continue;
            if (counting) ++port.enabled;
            if (!port.writes) continue;
            const uint64_t address = unsigned_number(port.address);
            bool wrote = false;
            for (const PortBit& bit : port.bits)
                if (at(bit.write) && bit.in >= 0) {
                    block.bits[bit.base + address * bit.stride] = at(bit.in);
                    wrote = true;
                }
            if (wrote)
                for (BlockPort& reader : block.ports) reader.last_address = ~uint64_t(0);
        }
    }
    void read(BlockRam& block, BlockPort& port) {
        const bool enable = at(port.enable), reset = at(port.reset);
        if (!enable && !port.has_register) return;
        const uint64_t address = enable ? unsigned_number(port.address) : 0;
        if (!port.has_register && !port.writes && !reset && address == port.last_address) return;
        port.last_address = reset ? ~uint64_t(0) : address;
        const bool moves = port.has_register && at(port.register_enable);
        for (PortBit& bit : port.bits) {
            if (bit.out < 0) continue;
            if (moves) bit.registered = at(port.register_reset) ? bit.reset : bit.latched;
            const bool writes = at(bit.write), held = block.bits[bit.base + address * bit.stride];
            if (enable && !(writes && port.mode == 2))
                bit.latched = reset ? bit.reset : writes && port.mode == 0 ? at(bit.in) : held;
            set(bit.out, port.has_register ? bit.registered : bit.latched);
        }
    }

    static int64_t wrapped(int64_t word, unsigned width) {
        return static_cast<int64_t>(static_cast<uint64_t>(word) << (64 - width)) >> (64 - width);
    }
    struct Values {
        int64_t a, b, c, d, sum, product, p;
    };
    Values values(const Slice& s) const {
        Values v;
        const int64_t in_a = number(s.a), in_b = number(s.b);
        const uint64_t inmode = unsigned_number(s.inmode), opmode = unsigned_number(s.opmode);
        v.a = s.a_regs ? s.a2 : in_a;
        v.b = s.b_regs ? s.b2 : in_b;
        v.c = s.c_reg ? s.c_held : number(s.c);
        v.d = s.d_reg ? s.d_held : number(s.d);
        const int64_t a = inmode & 2 ? 0 : wrapped(inmode & 1 ? s.a1 : v.a, 25);
        const int64_t d = inmode & 4 ? v.d : 0;
        v.sum = s.d_port ? wrapped(inmode & 8 ? d - a : d + a, 25) : a;
        const int64_t factor = s.d_port && s.ad_reg ? s.ad_held : v.sum;
        v.product = factor * (inmode & 16 ? s.b1 : v.b);
        const int64_t m = s.m_reg ? s.m_held : v.product;
        const unsigned x = opmode & 3, y = opmode >> 2 & 3, z = opmode >> 4 & 7;
        const int64_t joined = static_cast<int64_t>(static_cast<uint64_t>(v.a) << 18) |
                               (v.b & 0x3ffff);
        int64_t sum = x == 1 ? m : x == 2 ? s.p_held : x == 3 ? joined : 0;
        sum += y == 2 ? -1 : y == 3 ? v.c : 0;  // y == 1: the other part of the product
        const int64_t pcin = number(s.pcin);
        const int64_t to = z == 1   ? pcin
                           : z == 2 ? s.p_held
                           : z == 3 ? v.c
                           : z == 5 ? pcin >> 17
                           : z == 6 ? s.p_held >> 17
                                    : 0;
        sum += at(s.carry);
        const uint64_t alumode = unsigned_number(s.alumode);
        v.p = wrapped(alumode == 0   ? to + sum
                      : alumode == 3 ? to - sum
                      : alumode == 1 ? ~to + sum
                                     : ~(to + sum), 48);
        return v;
    }
    void show(const Slice& s) {
        const Values v = values(s);
        const int64_t p = s.p_reg ? s.p_held : v.p;
        drive(s.p, p), drive(s.pcout, p);
        drive(s.acout, s.a_cascade == 0 ? number(s.a) : s.a_cascade < s.a_regs ? s.a1 : s.a2);
        drive(s.bcout, s.b_cascade == 0 ? number(s.b) : s.b_cascade < s.b_regs ? s.b1 : s.b2);
    }
    static void hold(int64_t& held, bool enable, bool reset, int64_t to) {
        if (reset)
            held = 0;
        else if (enable)
            held = to;
    }
    void clock(Slice& s) {
        const Values v = values(s);
        const int64_t in_a = number(s.a), in_b = number(s.b);
        hold(s.a2, at(s.ce_a2), at(s.rst_a), s.a_regs == 2 ? s.a1 : in_a);
        hold(s.a1, at(s.ce_a1), at(s.rst_a), in_a);
        hold(s.b2, at(s.ce_b2), at(s.rst_b), s.b_regs == 2 ? s.b1 : in_b);
        hold(s.b1, at(s.ce_b1), at(s.rst_b), in_b);
        hold(s.c_held, at(s.ce_c), at(s.rst_c), number(s.c));
        hold(s.d_held, at(s.ce_d), at(s.rst_d), number(s.d));
        hold(s.ad_held, at(s.ce_ad), at(s.rst_d), v.sum);
        hold(s.m_held, at(s.ce_m), at(s.rst_m), v.product);
        hold(s.p_held, at(s.ce_p), at(s.rst_p), v.p);
        // Without a register at the output it follows the ports too, once these have changed.
        if (s.p_reg)
            show(s);
        else
            queue(s.cell);
    }

    static constexpr size_t one = 1;       // net of the constant 1; that of the constant 0 is 0
    static constexpr uint32_t no_bit = 15;  // of an index that nothing reads

    std::vector<NetState> nets_;
    std::vector<uint32_t> settled_;
    std::vector<Cell> cells_;
    std::vector<State> states_;
    size_t highest_ = 0;  // rank that waits in at_once_
    std::vector<std::vector<Sink>> sinks_;
    std::vector<Sink> all_sinks_;
    std::vector<uint32_t> first_;  // nets that begin as 1
    // Of what passes changes on within the step: after all that it reads. Of a flip-flop: its set.
    std::vector<uint16_t> ranks_;
    Queue now_, changed_;            // nets
    Queue later_, others_;           // cells: LUTs, and memories and the like
    std::vector<Queue> at_once_{1};  // by rank
    std::vector<ControlSet> sets_;
    std::vector<ShiftRegister> shifts_;
    std::vector<LutRam> rams_;
    std::vector<BlockRam> blocks_;
    std::vector<Slice> slices_;
    std::vector<Multiplier> multipliers_;
    std::vector<uint64_t> shifted_, written_;
};

using Options = std::map<std::string, std::string>;

const std::string& text(const Options& options, const std::string& name) {
    const auto found = options.find(name);
    if (found == options.end()) fail("option " + name + " is missing");
    return found->second;
}
uint64_t number(const Options& options, const std::string& name) {
    return std::strtoull(text(options, name).c_str(), nullptr, 10);
}

class Bench {
  public:
    Bench(const Options& options, Numbers in)
        : input_(contents(text(options, "--input"))),
          output_(std::fopen(text(options, "--output").c_str(), "wb")),
          in_beats_(number(options, "--in-beats")),
          out_beats_(number(options, "--out-beats")),
          skip_(number(options, "--skip")),
          frames_(number(options, "--frames")),
          watchdog_(number(options, "--watchdog")),
          word_in_(number(options, "--in-bytes")),
          word_out_(number(options, "--out-bytes")),
          netlist_(in) {
        if (!output_) fail("the output can't be written");
        rst_ = in.next(), in_valid_ = in.next(), in_ready_ = in.next(), in_last_ = in.next();
        out_valid_ = in.next(), out_ready_ = in.next(), out_last_ = in.next();
        in_data_ = in.list(), out_data_ = in.list();
    }

    // True when all frames came out.
    bool run() {
        netlist_.set(rst_, true), netlist_.set(out_ready_, true);
        for (int n = 0; n < 8; ++n) netlist_.propagate(), netlist_.edge();
        netlist_.set(rst_, false);
        const uint64_t all_out = (skip_ + frames_) * out_beats_;
        uint64_t quiet = 0;
        bool taken = true;
        for (uint64_t clock = 0; out_ < all_out; ++clock) {
            if (taken) offer();
            netlist_.propagate();
            taken = netlist_.at(in_ready_);
            in_ += taken;
            const bool leaves = netlist_.at(out_valid_);
            if (leaves && !receive(clock)) return false;
            quiet = taken || leaves ? 0 : quiet + 1;
            if (quiet >= watchdog_) {
                std::printf("error no beat moved for %llu clocks in the mapped netlist\n",
                            ull(watchdog_));
                return false;
            }
            if ((clock & 0x3fff) == 0x3fff) {
                std::printf("progress 0 %llu\n", ull(out_));
                std::fflush(stdout);
            }
            netlist_.edge();
        }
        std::printf("counted %llu\n", ull(ended_ - began_));
        return true;
    }

    void write_counts(const std::string& path) {
        if (std::fclose(output_)) fail("disk full");
        netlist_.write_counts(path);
    }

  private:
    static unsigned long long ull(uint64_t x) { return x; }

    // The next beat of the input, whose frames come in turns.
    void offer() {
        const size_t at = offered_ * word_in_ % input_.size();
        netlist_.set(in_valid_, true);
        netlist_.set(in_last_, offered_ % in_beats_ == in_beats_ - 1);
        for (size_t n = 0; n < in_data_.size(); ++n)
            if (in_data_[n] >= 0) netlist_.set(in_data_[n], input_[at + n / 8] >> n % 8 & 1);
        ++offered_;
    }

    bool receive(uint64_t clock) {
        std::vector<char> word(word_out_);
        for (size_t n = 0; n < out_data_.size(); ++n)
            word[n / 8] = static_cast<char>(word[n / 8] | netlist_.at(out_data_[n]) << n % 8);
        if (std::fwrite(word.data(), 1, word.size(), output_) != word.size()) fail("disk full");
        const bool last = ++out_ % out_beats_ == 0;
        if (netlist_.at(out_last_) != last) {
            std::printf("error m_axis_tlast is wrong at output beat %llu of the mapped netlist\n",
                        ull(out_ - 1));
            return false;
        }
        if (!last) return true;
        const uint64_t frame = out_ / out_beats_ - 1;
        if (frame + 1 == skip_) netlist_.counting = true, began_ = clock;
        if (frame + 1 == skip_ + frames_) netlist_.counting = false, ended_ = clock;
        return true;
    }

    std::vector<char> input_;
    std::FILE* output_;
    const uint64_t in_beats_, out_beats_, skip_, frames_, watchdog_;
    const size_t word_in_, word_out_;
    Netlist netlist_;
    Net rst_, in_valid_, in_ready_, in_last_, out_valid_, out_ready_, out_last_;
    Nets in_data_, out_data_;
    uint64_t in_ = 0, out_ = 0, offered_ = 0, began_ = 0, ended_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
    Numbers numbers(text(options, "--netlist"));
    Bench bench(options, std::move(numbers));
    if (!bench.run()) return 1;
    bench.write_counts(text(options, "--counts"));
    return 0;
}
