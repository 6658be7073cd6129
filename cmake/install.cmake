# What `cmake --install` puts where: headers, both libraries, a pkg-config file, a CMake package, the program, its manual
# page and its completion.
include(CMakePackageConfigHelpers)

if(TARGET viva)
  install(TARGETS viva EXPORT viva-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES ${viva_archive_file} DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/viva DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

  # pkg-config: paths are relative to the file, so that the tree may be moved.
  file(RELATIVE_PATH viva_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" viva_pc_prefix "${viva_pc_prefix}")
  configure_file(cmake/viva.pc.in ${PROJECT_BINARY_DIR}/viva.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/viva.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

  # find_package(viva): viva::viva (shared) and viva::viva_static.
  set(viva_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/viva)
  install(EXPORT viva-targets NAMESPACE viva:: DESTINATION ${viva_cmake_dir})
  configure_package_config_file(cmake/viva-config.cmake.in ${PROJECT_BINARY_DIR}/viva-config.cmake
    INSTALL_DESTINATION ${viva_cmake_dir} PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
  # Until 1.0 a minor version may break: 0.1.x serves 0.1 alone.
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/viva-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/viva-config.cmake ${PROJECT_BINARY_DIR}/viva-config-version.cmake
    DESTINATION ${viva_cmake_dir})
endif()

# install/strip is an option of each caller; this strips for all of them.
function(viva_strip_installed file)
  if(VIVA_STRIP AND CMAKE_STRIP)
    install(CODE "execute_process(COMMAND \"${CMAKE_STRIP}\" --strip-unneeded \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${file}\")")
  endif()
endfunction()
if(TARGET viva)
  viva_strip_installed(${CMAKE_INSTALL_LIBDIR}/$<TARGET_FILE_NAME:viva>)
endif()

if(TARGET viva_program)
  install(TARGETS viva_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  viva_strip_installed(${CMAKE_INSTALL_BINDIR}/$<TARGET_FILE_NAME:viva_program>)
  if(EXISTS ${PROJECT_SOURCE_DIR}/apps/viva.1)
    install(FILES ${PROJECT_SOURCE_DIR}/apps/viva.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  endif()
  if(EXISTS ${PROJECT_SOURCE_DIR}/apps/viva.bash)
    install(FILES ${PROJECT_SOURCE_DIR}/apps/viva.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
      RENAME viva)
  endif()
endif()
