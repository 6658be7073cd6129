# The programs of examples/, and the one in viva.h's first comment, compiled against the shared library and run on the 40 KB
# model. Its text means nothing; it begins alike on every table of kernels.
set(tiny ${PROJECT_SOURCE_DIR}/tests/golden/tiny.gguf)
set(header ${PROJECT_SOURCE_DIR}/include/viva/viva.h)

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_custom_command(OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/example_header.c
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/header_example.py ${header}
          ${CMAKE_CURRENT_BINARY_DIR}/example_header.c
  DEPENDS ${header} ${CMAKE_CURRENT_LIST_DIR}/header_example.py)

# viva_example(NAME SOURCE PATTERN ARGUMENTS...): what it prints must match PATTERN.
function(viva_example name source pattern)
  add_executable(example_${name} ${source})
  target_link_libraries(example_${name} PRIVATE viva viva_flags)
  add_test(NAME example_${name} COMMAND example_${name} ${tiny} ${ARGN})
  set_tests_properties(example_${name} PROPERTIES PASS_REGULAR_EXPRESSION ${pattern} FAIL_REGULAR_EXPRESSION "VIVA_E_")
endfunction()

set(examples ${PROJECT_SOURCE_DIR}/examples)
viva_example(header ${CMAKE_CURRENT_BINARY_DIR}/example_header.c "^xou}" "Once upon a time")
viva_example(generate ${examples}/01_generate.c "Once upon a time" "Once upon a time")
viva_example(stream ${examples}/02_stream.c "100 %.*xou}.*cancelled" "Once upon a time" 9)
viva_example(shared_prefix ${examples}/03_shared_prefix.c "Once upon a time.*Once upon another" "Once upon a" " time" "nother")

# Its prompts come from standard input, twenty of them.
add_executable(example_many_prompts ${examples}/04_many_prompts.c)
target_link_libraries(example_many_prompts PRIVATE viva viva_flags)
add_test(NAME example_many_prompts COMMAND sh -c
  "$<TARGET_FILE:example_many_prompts> ${tiny} 'Once upon a time. ' <${CMAKE_CURRENT_LIST_DIR}/prompts.txt")
set_tests_properties(example_many_prompts PROPERTIES PASS_REGULAR_EXPRESSION "^1 .*8 .*\n9 .*\n20 " FAIL_REGULAR_EXPRESSION "VIVA_E_")
