# cpack -G DEB: a Debian package of what `cmake --install` puts there (tests/install/check_package.sh looks into it).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME viva)
set(CPACK_PACKAGE_VENDOR "The viva authors")
set(CPACK_PACKAGE_CONTACT "maintainers <maintainers@users.noreply.r-seed-930ff532.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION "Runs Llama-family models from safetensors folders and GGUF files: a program to talk to them, and the C library
 that it is a client of.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ${VIVA_STRIP})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
# dpkg-shlibdeps (dpkg-dev) finds what the files need; without it the two that are known are named.
find_program(VIVA_SHLIBDEPS dpkg-shlibdeps)
if(VIVA_SHLIBDEPS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON) # and ldconfig runs when the library comes or goes
elseif(VIVA_EDIT)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libedit2")
else()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6")
endif()
include(CPack)
