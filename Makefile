# The short way to the usual things; CMakePresets.json has the others (debug, asan, tsan, fuzz, coverage).
PREFIX ?= /usr/local
all: ; cmake --preset release && cmake --build build/release
test: ; cmake --preset release -DVIVA_TESTS=ON && cmake --build build/release && ctest --test-dir build/release -j2 --output-on-failure
bench: all ; build/release/viva bench -m $${VIVA_MODELS:-$$HOME/.cache/viva/models}/SmolLM2-135M-Instruct-Q4_1.gguf
install: all ; cmake --install build/release --prefix $(PREFIX)
clean: ; rm -rf build
.PHONY: all test bench install clean
