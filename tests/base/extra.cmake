# jansson as the oracle of base/json.h. Only tests use it.
find_library(JANSSON jansson)
find_path(JANSSON_INCLUDE jansson.h)
if(JANSSON AND JANSSON_INCLUDE)
  set(oracle ${CMAKE_CURRENT_SOURCE_DIR}/base/oracle)
  viva_test(test_json_oracle base ${oracle}/test_json_oracle.c)
  target_sources(test_json_oracle PRIVATE ${oracle}/dump.c ${oracle}/dump_jansson.c)
  target_include_directories(test_json_oracle PRIVATE ${JANSSON_INCLUDE})
  target_link_libraries(test_json_oracle PRIVATE ${JANSSON})
endif()

# Rules of the sources, and the page that is made from them.
add_test(NAME check_bans COMMAND sh ${PROJECT_SOURCE_DIR}/tools/check_bans)
add_test(NAME check_bans_finds_each COMMAND sh ${PROJECT_SOURCE_DIR}/tools/check_bans --self-test)
add_test(NAME errors_doc_is_current COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/make_errors_doc --check)
