// SPDX-License-Identifier: Apache-2.0
// The program in front of the one for TC. BPF_PROG_TEST_RUN neither takes a tag in a packet's metadata nor shows it,
// so this program moves it there from cb[0] (protocol << 16 | TCI), calls the program under test, unmodified, by a
// tail call from a subprogram (which returns to the caller), and leaves what is in the metadata in cb[0..2].
// It is small enough to be written as instructions; a tail call in a subprogram needs type information, made here too.
#include <array>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>

#include "plane.h"

namespace featherlb::packet {
namespace {

constexpr int cannot_push = -1000, not_called = -1001; // nothing that the program returns

bpf_insn insn(int code, int dst, int src, std::size_t offset, int imm)
{
    bpf_insn i{};
    i.code = static_cast<std::uint8_t>(code);
    i.dst_reg = static_cast<std::uint8_t>(dst & 15);
    i.src_reg = static_cast<std::uint8_t>(src & 15);
    i.off = static_cast<std::int16_t>(offset);
    i.imm = imm;
    return i;
}

bpf_insn move_register(int dst, int src)
{
    return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

bpf_insn load_field(int dst, std::size_t offset)
{
    return insn(BPF_LDX | BPF_MEM | BPF_W, dst, 6, offset, 0);
}

bpf_insn store_field(std::size_t offset, int src)
{
    return insn(BPF_STX | BPF_MEM | BPF_W, 6, src, offset, 0);
}

bpf_insn call(int helper)
{
    return insn(BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

bpf_insn exit_program()
{
    return insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

std::vector<bpf_insn> instructions(int map, int& subprogram)
{
    const std::size_t cb = offsetof(__sk_buff, cb);
    std::vector<bpf_insn> code = {
        move_register(6, 1),
        load_field(7, cb),
        insn(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 9, 0), // no tag: to the call
        move_register(1, 6),
        move_register(2, 7),
        insn(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 16),
        move_register(3, 7),
        insn(BPF_ALU64 | BPF_AND | BPF_K, 3, 0, 0, 0xffff),
        call(BPF_FUNC_skb_vlan_push),
        insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
        insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, cannot_push),
        exit_program(),
        move_register(1, 6),
        insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0), // the offset is filled in below
        move_register(8, 0),
        load_field(1, offsetof(__sk_buff, vlan_present)),
        store_field(cb, 1),
        load_field(1, offsetof(__sk_buff, vlan_tci)),
        store_field(cb + 4, 1),
        load_field(1, offsetof(__sk_buff, vlan_proto)),
        store_field(cb + 8, 1),
        move_register(0, 8),
        exit_program(),
    };
    subprogram = static_cast<int>(code.size());
    code[13].imm = subprogram - 14;
    code.push_back(insn(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, map));
    code.push_back(insn(0, 0, 0, 0, 0));
    code.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0));
    code.push_back(call(BPF_FUNC_tail_call));
    code.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, not_called));
    code.push_back(exit_program());
    return code;
}

int checked(int result, const char* what)
{
    if (result < 0)
        throw std::runtime_error(std::string(what) + ": error " + std::to_string(result));
    return result;
}

} // namespace

TcFront make_tc_front(int program)
{
    TcFront front;
    front.map = Fd(checked(bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "front", 4, 4, 1, nullptr), "program array"));

    btf* types = btf__new_empty();
    const int number = btf__add_int(types, "int", 4, BTF_INT_SIGNED);
    const int prototype = btf__add_func_proto(types, number);
    btf__add_func_param(types, "context", number);
    const std::array<int, 2> functions = {btf__add_func(types, "front", BTF_FUNC_STATIC, prototype),
        btf__add_func(types, "callee", BTF_FUNC_STATIC, prototype)};
    const int loaded = btf__load_into_kernel(types);
    const Fd types_fd(loaded < 0 ? -1 : dup(btf__fd(types)));
    btf__free(types);
    checked(loaded, "type information of the front program");

    int subprogram = 0;
    const std::vector<bpf_insn> code = instructions(front.map.get(), subprogram);
    std::array<bpf_func_info, 2> info{};
    info[0].type_id = static_cast<std::uint32_t>(functions[0]);
    info[1].insn_off = static_cast<std::uint32_t>(subprogram);
    info[1].type_id = static_cast<std::uint32_t>(functions[1]);
    std::vector<char> log(65536);
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.prog_btf_fd = static_cast<std::uint32_t>(types_fd.get());
    options.func_info = info.data();
    options.func_info_cnt = info.size();
    options.func_info_rec_size = sizeof(bpf_func_info);
    options.log_buf = log.data();
    options.log_size = static_cast<std::uint32_t>(log.size());
    options.log_level = 1;
    const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "front", "GPL", code.data(), code.size(), &options);
    if (fd < 0)
        throw std::runtime_error(std::string("the front program does not load: ") + log.data());
    front.program = Fd(fd);
    const int first = 0;
    checked(bpf_map_update_elem(front.map.get(), &first, &program, BPF_ANY), "program array: entry");
    return front;
}

} // namespace featherlb::packet
