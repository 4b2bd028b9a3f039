# SPDX-License-Identifier: Apache-2.0
# packet_tests_host: the packet tests over the packet programs compiled for this machine; see engine.h beside this.
# Built on demand (scripts/coverage). The programs are compiled as for BPF, __bpf__ included, but for what stands in for
# libbpf's header, and with counters on every branch.
set(host_dir ${CMAKE_CURRENT_LIST_DIR})
set(host_out ${CMAKE_BINARY_DIR}/host)
file(MAKE_DIRECTORY ${host_out}/include)

set(host_helpers ${host_out}/include/bpf_helper_defs.h)
find_path(BPF_INCLUDE_DIR bpf/bpf_helper_defs.h REQUIRED)
add_custom_command(
    OUTPUT ${host_helpers}
    COMMAND sed -E "s/^static (.*)\\(\\*( const)? *(bpf_[a-z0-9_]+)\\)(\\(.*\\)) = \\(void \\*\\) *[0-9]+;/extern \\1\\3\\4 __asm__(\"host_\\3\");/"
            ${BPF_INCLUDE_DIR}/bpf/bpf_helper_defs.h > ${host_helpers}
    DEPENDS ${BPF_INCLUDE_DIR}/bpf/bpf_helper_defs.h ${CMAKE_CURRENT_LIST_FILE}
    VERBATIM)

set(host_programs)
foreach(hook xdp tc decap probe copy)
    set(program ${host_out}/host_${hook}.so)
    add_custom_command(
        OUTPUT ${program}
        COMMAND ${BPF_CLANG} -D__bpf__ -DFEATHERLB_HOST -DFEATHERLB_WEAK_MEMORY -O1 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -fPIC -shared
                -Wl,-Bsymbolic -fno-strict-aliasing -fprofile-instr-generate -fcoverage-mapping
                -include bpf/bpf_helpers.h -I${host_dir} -I${host_out}/include -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/bpf
                ${CMAKE_SOURCE_DIR}/bpf/${hook}.bpf.c -o ${program}
        DEPENDS ${CMAKE_SOURCE_DIR}/bpf/${hook}.bpf.c ${bpf_headers} ${host_helpers} ${host_dir}/bpf/bpf_helpers.h
        VERBATIM)
    list(APPEND host_programs ${program})
endforeach()
add_custom_target(host_programs DEPENDS ${host_programs})

file(GLOB host_sources CONFIGURE_DEPENDS ${host_dir}/*.cpp)
add_executable(packet_tests_host EXCLUDE_FROM_ALL ${host_sources})
target_compile_definitions(packet_tests_host PRIVATE FEATHERLB_HOST_PROGRAMS="${host_out}")
set_target_properties(packet_tests_host PROPERTIES ENABLE_EXPORTS ON) # helpers, to the programs
target_link_libraries(packet_tests_host PRIVATE packet_test_cases ${CMAKE_DL_LIBS})
add_dependencies(packet_tests_host host_programs)
