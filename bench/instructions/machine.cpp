// SPDX-License-Identifier: Apache-2.0
#include "instructions/machine.h"

#include <cstring>
#include <stdexcept>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/mman.h>

namespace featherlb::bench {

namespace {

constexpr std::size_t stack_bytes = 512, deepest = 8, room = 256, line_bytes = 64;
constexpr std::uint64_t most_instructions = 1'000'000;

[[noreturn]] void give_up(const std::string& why)
{
    throw std::runtime_error("the instruction counter " + why);
}

std::uint64_t address_of(const void* memory)
{
    return reinterpret_cast<std::uint64_t>(memory);
}

template <typename T>
T& at(std::uint64_t address)
{
    return *reinterpret_cast<T*>(address); // NOLINT(performance-no-int-to-ptr): what registers hold are addresses
}

unsigned width_of(std::uint8_t code)
{
    switch (BPF_SIZE(code)) {
    case BPF_B:
        return 1;
    case BPF_H:
        return 2;
    case BPF_W:
        return 4;
    default:
        return 8;
    }
}

std::uint64_t swapped(std::uint64_t value, int bits)
{
    if (bits == 16)
        return __builtin_bswap16(static_cast<std::uint16_t>(value));
    return bits == 32 ? __builtin_bswap32(static_cast<std::uint32_t>(value)) : __builtin_bswap64(value);
}

std::uint64_t truncated(std::uint64_t value, int bits)
{
    return bits == 64 ? value : value & ((1ULL << bits) - 1);
}

std::uint64_t computed(std::uint8_t operation, bool wide, std::uint64_t a, std::uint64_t b)
{
    const unsigned shift = static_cast<unsigned>(b) & (wide ? 63 : 31);
    if (!wide) {
        a = static_cast<std::uint32_t>(a);
        b = static_cast<std::uint32_t>(b);
    }
    switch (operation) {
    case BPF_ADD:
        return a + b;
    case BPF_SUB:
        return a - b;
    case BPF_MUL:
        return a * b;
    case BPF_DIV:
        return b ? a / b : 0;
    case BPF_MOD:
        return b ? a % b : a;
    case BPF_OR:
        return a | b;
    case BPF_AND:
        return a & b;
    case BPF_XOR:
        return a ^ b;
    case BPF_LSH:
        return a << shift;
    case BPF_RSH:
        return a >> shift;
    case BPF_ARSH:
        return wide ? static_cast<std::uint64_t>(static_cast<std::int64_t>(a) >> shift)
                    : static_cast<std::uint32_t>(static_cast<std::int32_t>(a) >> shift);
    case BPF_NEG:
        return -a;
    case BPF_MOV:
        return b;
    default:
        give_up(fmt::format("does not know the operation {:#x}", operation));
    }
}

bool holds(std::uint8_t condition, bool wide, std::uint64_t a, std::uint64_t b)
{
    auto signed_a = static_cast<std::int64_t>(a), signed_b = static_cast<std::int64_t>(b);
    if (!wide) {
        signed_a = static_cast<std::int32_t>(a);
        signed_b = static_cast<std::int32_t>(b);
        a = static_cast<std::uint32_t>(a);
        b = static_cast<std::uint32_t>(b);
    }
    switch (condition) {
    case BPF_JEQ:
        return a == b;
    case BPF_JNE:
        return a != b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    case BPF_JLT:
        return a < b;
    case BPF_JLE:
        return a <= b;
    case BPF_JSET:
        return (a & b) != 0;
    case BPF_JSGT:
        return signed_a > signed_b;
    case BPF_JSGE:
        return signed_a >= signed_b;
    case BPF_JSLT:
        return signed_a < signed_b;
    case BPF_JSLE:
        return signed_a <= signed_b;
    default:
        give_up(fmt::format("does not know the condition {:#x}", condition));
    }
}

} // namespace

Machine::Machine(std::span<const bpf_insn> program, std::uint64_t jiffies)
    : program_(program), jiffies_(jiffies), stack_(stack_bytes * deepest)
{
}

Machine::~Machine()
{
    for (auto& [fd, map] : maps_)
        if (map.bytes)
            munmap(map.memory, map.bytes);
}

Machine::Map& Machine::map_of(int fd)
{
    Map& map = maps_[fd];
    if (map.fd == fd)
        return map;
    bpf_map_info info{};
    __u32 length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length))
        give_up("cannot ask about a map");
    map = {.fd = fd,
        .type = info.type,
        .key_bytes = info.key_size,
        .value_bytes = info.value_size,
        .entries = info.max_entries};
    if (map.type != BPF_MAP_TYPE_ARRAY)
        return map;
    const std::size_t stride = (map.value_bytes + 7U) & ~std::size_t{7};
    map.bytes = (stride * map.entries + 4095) & ~std::size_t{4095};
    void* memory = mmap(nullptr, map.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) // constants
        memory = mmap(nullptr, map.bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        give_up("cannot map " + std::string(info.name));
    map.memory = static_cast<std::uint8_t*>(memory);
    return map;
}

std::uint64_t Machine::look_up(Map& map, const void* key)
{
    if (map.type == BPF_MAP_TYPE_ARRAY) {
        __u32 index = 0;
        std::memcpy(&index, key, sizeof(index));
        const std::size_t stride = (map.value_bytes + 7U) & ~std::size_t{7};
        return index < map.entries ? address_of(map.memory + index * stride) : 0;
    }
    if (map.type == BPF_MAP_TYPE_PERCPU_ARRAY) { // nobody else has it, so any memory will do
        map.copy.resize(map.value_bytes);
        return address_of(map.copy.data());
    }
    map.copy.resize(map.value_bytes);
    return bpf_map_lookup_elem(map.fd, key, map.copy.data()) ? 0 : address_of(map.copy.data());
}

std::uint64_t Machine::call(std::uint32_t helper)
{
    if (helper == BPF_FUNC_map_lookup_elem) {
        cost_->lookups++;
        return look_up(at<Map>(r_[1]), &at<char>(r_[2]));
    }
    switch (helper) {
    case BPF_FUNC_jiffies64:
        return jiffies_;
    case BPF_FUNC_get_smp_processor_id:
        return 0;
    case BPF_FUNC_ktime_get_ns:
    case BPF_FUNC_ktime_get_coarse_ns:
        return jiffies_ * 4'000'000;
    case BPF_FUNC_get_prandom_u32:
        return random_ = random_ * 1664525 + 1013904223;
    case BPF_FUNC_loop:
        return loop();
    case BPF_FUNC_map_update_elem:
        return static_cast<std::uint64_t>(
            bpf_map_update_elem(at<Map>(r_[1]).fd, &at<char>(r_[2]), &at<char>(r_[3]), r_[4]));
    case BPF_FUNC_redirect:
        return XDP_REDIRECT;
    case BPF_FUNC_xdp_adjust_head:
        data_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(r_[2])));
        return data_ < address_of(packet_.data()) ? ~0ULL : 0;
    default:
        give_up(fmt::format("does not know the helper {}", helper));
    }
}

void Machine::check(std::uint64_t address, unsigned bytes)
{
    const auto inside = [&](std::uint64_t begin, std::size_t length) {
        return address >= begin && address + bytes <= begin + length;
    };
    if (inside(address_of(stack_.data()), stack_.size()) || inside(data_, data_end_ - data_))
        return;
    for (const auto& [fd, map] : maps_) {
        const bool mapped = map.memory && inside(address_of(map.memory), map.bytes);
        if (mapped || inside(address_of(map.copy.data()), map.copy.size())) {
            cost_->lines.insert(address / line_bytes);
            return;
        }
    }
    give_up(fmt::format("was led to {:#x}", address));
}

std::uint64_t Machine::load(std::uint64_t address, unsigned bytes)
{
    const std::uint64_t context = address_of(&context_);
    if (address == context + offsetof(xdp_md, data))
        return data_;
    if (address == context + offsetof(xdp_md, data_end))
        return data_end_;
    if (address < context || address >= context + sizeof(context_))
        check(address, bytes);
    std::uint64_t value = 0;
    std::memcpy(&value, &at<char>(address), bytes);
    return value;
}

void Machine::store(std::uint64_t address, unsigned bytes, std::uint64_t value)
{
    check(address, bytes);
    std::memcpy(&at<char>(address), &value, bytes);
}

void Machine::atomic(const bpf_insn& insn)
{
    const std::uint64_t address = r_[insn.dst_reg] + static_cast<std::uint64_t>(std::int64_t{insn.off});
    const unsigned bytes = width_of(insn.code);
    const std::uint64_t before = load(address, bytes),
                        operand = truncated(r_[insn.src_reg], static_cast<int>(bytes) * 8);
    if (insn.imm == BPF_CMPXCHG) {
        if (before == truncated(r_[0], static_cast<int>(bytes) * 8))
            store(address, bytes, operand);
        r_[0] = before;
        return;
    }
    if (insn.imm == BPF_XCHG)
        store(address, bytes, operand);
    else
        store(address, bytes, computed(static_cast<std::uint8_t>(insn.imm & ~BPF_FETCH), true, before, operand));
    if (insn.imm & BPF_FETCH)
        r_[insn.src_reg] = before;
}

std::uint64_t Machine::wide_immediate(std::size_t at)
{
    const bpf_insn& insn = program_[at];
    const auto high = static_cast<std::uint32_t>(program_[at + 1].imm);
    if (insn.src_reg == BPF_PSEUDO_MAP_FD)
        return address_of(&map_of(insn.imm));
    if (insn.src_reg == BPF_PSEUDO_FUNC)
        return address_of(&program_[at + 1 + static_cast<std::size_t>(std::int64_t{insn.imm})]);
    if (insn.src_reg == BPF_PSEUDO_MAP_VALUE)
        return address_of(map_of(insn.imm).memory + high);
    if (insn.src_reg)
        give_up("does not know such a constant");
    return static_cast<std::uint32_t>(insn.imm) | std::uint64_t{high} << 32;
}

std::uint64_t Machine::operand(const bpf_insn& insn) const
{
    return BPF_SRC(insn.code) == BPF_X ? r_[insn.src_reg] : static_cast<std::uint64_t>(std::int64_t{insn.imm});
}

void Machine::compute(const bpf_insn& insn)
{
    const bool wide = BPF_CLASS(insn.code) == BPF_ALU64;
    std::uint64_t& target = r_[insn.dst_reg];
    if (BPF_OP(insn.code) == BPF_END && !wide)
        target = BPF_SRC(insn.code) == BPF_TO_BE ? swapped(target, insn.imm) : truncated(target, insn.imm);
    else
        target = truncated(computed(BPF_OP(insn.code), wide, target, operand(insn)), wide ? 64 : 32);
}

// bpf_loop(rounds, function, context, flags): the function is given as the address of its first instruction.
std::uint64_t Machine::loop()
{
    const std::uint64_t rounds = r_[1], function = r_[2], context = r_[3];
    std::uint64_t saved[11];
    std::copy(std::begin(r_), std::end(r_), saved);
    std::uint64_t round = 0;
    for (bool more = true; more && round < rounds; round++) {
        r_[1] = round;
        r_[2] = context;
        r_[10] += stack_bytes;
        more = execute((function - address_of(program_.data())) / sizeof(bpf_insn)) == 0;
        std::copy(std::begin(saved), std::end(saved), r_);
    }
    return round;
}

std::uint64_t Machine::execute(std::size_t at)
{
    std::vector<Frame> frames;
    for (std::size_t pc = at;; pc++) {
        const bpf_insn& insn = program_[pc];
        const std::uint8_t operation = BPF_OP(insn.code);
        const auto offset = static_cast<std::uint64_t>(std::int64_t{insn.off});

        if (++cost_->instructions > most_instructions)
            give_up("came to no end");
        cost_->visits[pc]++;
        if (r_[10] > address_of(stack_.data() + stack_.size()))
            give_up("came too deep");
        switch (BPF_CLASS(insn.code)) {
        case BPF_ALU:
        case BPF_ALU64:
            compute(insn);
            break;
        case BPF_LD:
            r_[insn.dst_reg] = wide_immediate(pc++);
            break;
        case BPF_LDX:
            r_[insn.dst_reg] = load(r_[insn.src_reg] + offset, width_of(insn.code));
            break;
        case BPF_ST:
            store(r_[insn.dst_reg] + offset, width_of(insn.code), operand(insn));
            break;
        case BPF_STX:
            if (BPF_MODE(insn.code) == BPF_ATOMIC)
                atomic(insn);
            else
                store(r_[insn.dst_reg] + offset, width_of(insn.code), r_[insn.src_reg]);
            break;
        default: // jumps
            if (operation == BPF_CALL && insn.src_reg == BPF_PSEUDO_CALL) {
                frames.push_back({.back = pc, .saved = {r_[6], r_[7], r_[8], r_[9]}, .stack = r_[10]});
                r_[10] += stack_bytes;
                pc += static_cast<std::size_t>(std::int64_t{insn.imm});
            } else if (operation == BPF_CALL) {
                r_[0] = call(static_cast<std::uint32_t>(insn.imm));
            } else if (operation == BPF_EXIT && frames.empty()) {
                return r_[0];
            } else if (operation == BPF_EXIT) {
                std::copy(std::begin(frames.back().saved), std::end(frames.back().saved), &r_[6]);
                r_[10] = frames.back().stack;
                pc = frames.back().back;
                frames.pop_back();
            } else if (operation == BPF_JA ||
                       holds(operation, BPF_CLASS(insn.code) == BPF_JMP, r_[insn.dst_reg], operand(insn))) {
                pc += offset;
            }
        }
    }
}

std::uint32_t Machine::run(std::vector<std::uint8_t>& frame, std::uint32_t ifindex, Cost& cost)
{
    cost_ = &cost;
    cost.visits.resize(program_.size());
    packet_.assign(frame.size() + 2 * room, 0);
    std::memcpy(packet_.data() + room, frame.data(), frame.size());
    data_ = address_of(packet_.data() + room);
    data_end_ = data_ + frame.size();
    context_ = {.ingress_ifindex = ifindex};
    r_[1] = address_of(&context_);
    r_[10] = address_of(stack_.data() + stack_bytes);
    const auto verdict = static_cast<std::uint32_t>(execute(0));
    frame.assign(&at<std::uint8_t>(data_), &at<std::uint8_t>(data_end_));
    return verdict;
}

} // namespace featherlb::bench
