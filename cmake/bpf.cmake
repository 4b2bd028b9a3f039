# SPDX-License-Identifier: Apache-2.0
# bpf/*.bpf.c -> objects and their skeleton headers, as the interface library featherlb_bpf (#include "xdp.skel.h").
find_program(BPF_CLANG NAMES clang-19 REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

set(bpf_out ${CMAKE_BINARY_DIR}/bpf)
set(bpf_definitions)
# Where loads may pass loads (bpf/atomic.h); and in the other layout, so that programs with these barriers are loaded by tests.
if(FEATHERLB_OTHER_LAYOUT OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    list(APPEND bpf_definitions -DFEATHERLB_WEAK_MEMORY)
endif()
if(FEATHERLB_OTHER_LAYOUT)
    list(APPEND bpf_definitions -DFEATHERLB_OTHER_LAYOUT)
endif()
file(MAKE_DIRECTORY ${bpf_out})
file(GLOB bpf_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.h ${CMAKE_SOURCE_DIR}/include/featherlb/*.h)

# An interface library `name` with the skeletons of the given sources: x.bpf.c -> x.skel.h, struct x_bpf.
function(add_bpf_skeletons name)
    set(skeletons)
    foreach(source ${ARGN})
        get_filename_component(base ${source} NAME)
        string(REPLACE ".bpf.c" "" base ${base})
        set(object ${bpf_out}/${base}.bpf.o)
        set(skeleton ${bpf_out}/${base}.skel.h)
        add_custom_command(
            OUTPUT ${object}
            COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror
                    ${bpf_definitions} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/bpf
                    -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -c ${source} -o ${object}
            DEPENDS ${source} ${bpf_headers}
            VERBATIM)
        add_custom_command(
            OUTPUT ${skeleton}
            COMMAND ${BPFTOOL} gen skeleton ${object} name ${base}_bpf > ${skeleton}
            DEPENDS ${object}
            VERBATIM)
        list(APPEND skeletons ${skeleton})
    endforeach()
    add_custom_target(${name}_skeletons DEPENDS ${skeletons})
    add_library(${name} INTERFACE)
    target_include_directories(${name} SYSTEM INTERFACE ${bpf_out})
    add_dependencies(${name} ${name}_skeletons)
endfunction()

file(GLOB bpf_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.bpf.c)
add_bpf_skeletons(featherlb_bpf ${bpf_sources})
