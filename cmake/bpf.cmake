# SPDX-License-Identifier: Apache-2.0
# bpf/*.bpf.c -> objects and their skeleton headers, as the interface library featherlb_bpf (#include "xdp.skel.h").
find_program(BPF_CLANG NAMES clang-19 REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

set(bpf_out ${CMAKE_BINARY_DIR}/bpf)
file(MAKE_DIRECTORY ${bpf_out})
file(GLOB bpf_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.bpf.c)
file(GLOB bpf_headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.h ${CMAKE_SOURCE_DIR}/include/featherlb/*.h)

set(skeletons)
foreach(source ${bpf_sources})
    get_filename_component(name ${source} NAME)
    string(REPLACE ".bpf.c" "" name ${name})
    set(object ${bpf_out}/${name}.bpf.o)
    set(skeleton ${bpf_out}/${name}.skel.h)
    add_custom_command(
        OUTPUT ${object}
        COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror
                -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/bpf
                -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -c ${source} -o ${object}
        DEPENDS ${source} ${bpf_headers}
        VERBATIM)
    add_custom_command(
        OUTPUT ${skeleton}
        COMMAND ${BPFTOOL} gen skeleton ${object} name ${name}_bpf > ${skeleton}
        DEPENDS ${object}
        VERBATIM)
    list(APPEND skeletons ${skeleton})
endforeach()

add_custom_target(bpf_skeletons DEPENDS ${skeletons})
add_library(featherlb_bpf INTERFACE)
target_include_directories(featherlb_bpf SYSTEM INTERFACE ${bpf_out})
add_dependencies(featherlb_bpf bpf_skeletons)
