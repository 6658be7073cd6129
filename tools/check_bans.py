#!/usr/bin/env python3
"""Checks that what the library must not do is not done, or only in its one home, and that no public call or callback takes
more than eight parameters.

  sh tools/check_bans [FOLDER]     the source tree (default: this one); exit status 1 and FILE:LINE for each banned use
  sh tools/check_bans --self-test  makes small trees that break each rule, and trees that must pass

Comments and texts are left out. A word counts when it is used as a name of its own: a member (io->open, .free), a
longer name (file_open) and a declared function pointer ((*open)) do not.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Ban(NamedTuple):
    folders: tuple  # where it holds
    homes: tuple  # patterns of files that may
    calls_only: bool  # the word alone is innocent: only a call counts
    words: str
    reason: str


SRC = ("src",)
ALL = ("src", "apps")
BANS = [
    Ban(SRC, ("src/base/mem.c",), False,
        "malloc calloc realloc reallocarray aligned_alloc posix_memalign memalign valloc pvalloc strdup strndup asprintf "
        "vasprintf getline getdelim open_memstream sbrk",
        "memory comes from base/mem.h, so that it can be counted and refused"),
    Ban(SRC, ("src/base/mem.c",), True, "free madvise", "memory goes back through base/mem.h"),
    Ban(SRC, ("src/base/io*.c",), True,
        "open openat openat2 creat read pread pread64 readv preadv write pwrite pwrite64 writev pwritev close lseek mmap "
        "mmap64 munmap mremap msync rename renameat renameat2 unlink unlinkat remove link symlink truncate ftruncate "
        "fallocate posix_fallocate fsync fdatasync syncfs sync_file_range stat fstat lstat fstatat statx access faccessat "
        "chmod fchmod chdir mkdir mkdirat rmdir mkstemp mkostemp mkdtemp tmpfile tmpnam opendir fdopendir readdir closedir "
        "scandir nftw ftw fopen fopen64 fdopen freopen fclose fread fwrite fgets fputs fgetc getc fputc fseek fseeko ftell "
        "ftello rewind fflush setvbuf fileno dup dup2 pipe pipe2 fcntl ioctl sendfile copy_file_range posix_fadvise "
        "readlink realpath popen pclose",
        "files are reached through the io_table of base/io.h, so that any call can be made to fail"),
    Ban(SRC, (), False,
        "abort _exit _Exit quick_exit atexit on_exit assert __builtin_trap __builtin_abort longjmp siglongjmp _longjmp "
        "setjmp sigsetjmp _setjmp pthread_exit sigaction sigaltstack",
        "the library never ends the program, jumps, or installs handlers: return a viva_status"),
    Ban(SRC, (), True, "exit err errx verr verrx raise kill tgkill signal system fork vfork execv execve execvp execlp",
        "the library never ends the program, starts others or sends signals: return a viva_status"),
    Ban(ALL, (), False, "abort __builtin_trap assert quick_exit longjmp",
        "a program ends with an exit code of the documented list"),
    Ban(SRC, (), False,
        "strtod strtof strtold strtol strtoul strtoll strtoull strtoimax strtoumax strtoq strtouq atoi atol atoll atof "
        "sscanf vsscanf fscanf vfscanf scanf vscanf",
        "numbers are read by base/num.h, without locale and with the overflow checked"),
    Ban(ALL, (), False, "atoi atol atoll atof sscanf vsscanf fscanf vfscanf scanf vscanf",
        "these do not notice overflow or garbage"),
    Ban(ALL, (), False, "setlocale", "nobody here changes the locale"),
    # libedit shows and takes characters by the locale of the thread that calls it: UTF-8, and of characters alone.
    Ban(ALL, ("apps/line_edit.c",), False, "uselocale newlocale duplocale", "nobody here changes the locale"),
    Ban(SRC, (), False,
        "localeconv nl_langinfo strcoll strxfrm strerror strerror_r strerror_l strsignal mbtowc mbstowcs mbrtowc mbrlen "
        "wcstombs wctomb wcrtomb btowc iswalpha iswspace towlower towupper strcasecmp strncasecmp strftime gettext "
        "isalnum isalpha isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit tolower toupper",
        "its result depends on the locale"),
    Ban(ALL, (), False,
        "strcpy strcat strncpy strncat stpcpy stpncpy sprintf vsprintf gets strtok wcscpy wcscat alloca __builtin_alloca "
        "bcopy bzero",
        "it does not know the size of its buffer, keeps hidden state, or takes stack by the input's size"),
    Ban(SRC, ("src/engine/*.c",), False, "getenv secure_getenv",
        "VIVA_NO_CUDA is the one variable the library reads, in engine/"),
    Ban(ALL, (), False, "setenv unsetenv putenv clearenv", "the environment belongs to the user"),
    Ban(SRC, (), False,
        "printf vprintf fprintf vfprintf dprintf vdprintf puts putchar putc perror psignal syslog stdout stderr stdin",
        "the library never prints: it logs through the runtime"),
    Ban(SRC, (), False, "rand srand random srandom rand_r drand48 lrand48 mrand48 erand48 arc4random",
        "random numbers are the documented generator's"),
]
NO_CUDA_ONLY = re.compile(r'\b(?:secure_)?getenv\s*\(\s*(?!"VIVA_NO_CUDA"\s*\))')

# Sums and products of two values, compared: in a format reader these overflow. A loop's `i + 1 < n` has a number in it.
VALUE = r"(?:\((?:u?int64_t|size_t)\)\s*)?[A-Za-z_](?:[\w.]|->|\[[^\]]*\])*"
CONSTANT = re.compile(r"(?:sizeof\b.*|[A-Z][A-Z0-9_]*)$")
UNCHECKED = re.compile(rf"(?<![\w.>*/%&-])({VALUE})\s+[+*]\s+({VALUE})\s+(?:[<>]=?)\s|"
                       rf"\s(?:[<>]=?)\s+({VALUE})\s+[+*]\s+({VALUE})(?![\w(.])")
FORMAT_REASON = "a sum or product of file values may overflow: use ck_range, ck_add or ck_mul of base/ck.h"

MOST_PARAMETERS = 8
DECLARED = re.compile(r"\b(viva_\w+)\s*\(|\(\s*\*\s*(\w+)\s*\)\s*\(")  # a call, or a pointer to a function

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[^\n]*", re.M)
ATTRIBUTE = re.compile(r"\bformat\s*\(\s*printf\b")  # __attribute__((format(printf, 1, 2)))
SUFFIXES = {".c", ".h", ".cu", ".cuh"}


def blank(text):
    """The same lines with everything but the line ends replaced by spaces."""
    return re.sub(r"[^\n]", " ", text)


def code_of(text):
    """text without comments and the contents of literals, line for line."""
    text = text.replace("\\\n", " \n")
    keep = TOKEN.sub(lambda m: blank(m[0]) if m[0][0] == "/" else '"' + blank(m[0])[1:-1] + '"', text)
    for innocent in (INCLUDE, ATTRIBUTE):
        keep = innocent.sub(lambda m: blank(m[0]), keep)
    return keep


def pattern_of(ban):
    words = "|".join(re.escape(w) for w in sorted(ban.words.split(), key=len, reverse=True))
    # Not a member, not part of a longer name, not a declared pointer: (*open)(...)
    before = r"(?<![\w.])(?<!->)(?<!->\s)(?<!\(\*)"
    return re.compile(before + rf"({words})\b" + (r"(?=\s*\()" if ban.calls_only else ""))


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def is_constant(value):
    return CONSTANT.match(value) is not None


def parameter_count(code, at):
    """Of the list that begins behind code[at - 1] = "(": commas inside brackets of its own parameters do not count."""
    depth, commas = 1, 0
    while at < len(code) and depth > 0:
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        commas += code[at] == "," and depth == 1
        at += 1
    return commas + 1


def check_public(root, file):
    """One line for each declaration in a public header that takes too many parameters."""
    code = code_of(file.read_text(encoding="utf-8"))
    counts = [(m, parameter_count(code, m.end())) for m in DECLARED.finditer(code)]
    return [f"{file.relative_to(root)}:{line_of(code, m.start())}: {m[1] or m[2]}: {count} parameters: at most "
            f"{MOST_PARAMETERS}; what belongs together goes into a struct" for m, count in counts if count > MOST_PARAMETERS]


def check_file(root, file):
    here = file.relative_to(root)
    text = file.read_text(encoding="utf-8")
    code = code_of(text)
    faults = set()
    for ban in BANS:
        if here.parts[0] not in ban.folders or any(here.match(home) for home in ban.homes):
            continue
        for match in pattern_of(ban).finditer(code):
            faults.add((line_of(code, match.start()), match[1], ban.reason))
    for match in NO_CUDA_ONLY.finditer(text) if here.match("src/engine/*.c") else []:
        if code[match.start()] != " ":
            faults.add((line_of(text, match.start()), "getenv", "VIVA_NO_CUDA is the one variable the library reads"))
    if here.is_relative_to("src/format"):
        for match in UNCHECKED.finditer(code):
            pair = [value for value in match.groups() if value]
            if not any(is_constant(value) for value in pair):
                faults.add((line_of(code, match.start()), " ".join(match[0].split()), FORMAT_REASON))
    first = {}  # one line for each word, though two rules may know it
    for line, word, reason in sorted(faults):
        first.setdefault((line, word), reason)
    return [f"{here}:{line}: {word}: {reason}" for (line, word), reason in first.items()]


def check(root):
    files = [p for folder in ALL for p in sorted((root / folder).rglob("*")) if p.suffix in SUFFIXES]
    headers = sorted((root / "include").rglob("*.h"))
    faults = [fault for file in files for fault in check_file(root, file)]
    return faults + [fault for file in headers for fault in check_public(root, file)], len(files) + len(headers)


# file, text, the line that must be found (0: none)
CASES = [
    ("src/text/a.c", "/* malloc(1) */ // malloc(2)\nint x; /* free(p)\n abort() */\n", 0),
    ("src/text/a.c", 'const char *t = "malloc(1) abort() \\" exit(1)"; char q = \'"\';\nvoid *p = malloc(1);\n', 2),
    ("src/text/a.c", "/* a */ void f(void) { free(p); }\n", 1),
    ("src/text/a.c", "void *(*fn)(size_t) = malloc;\n", 1),
    ("src/text/a.c", "\n\nx = \\\n  strtod(s, 0);\n", 4),
    ("src/text/a.c", "m->table.free(p); io->open(u, path); t.read (h); q -> close(1);\n", 0),
    ("src/text/a.c", "int (*open)(void *user, const char *path);\nint free; int read = 1, exit = 2;\n", 0),
    ("src/text/a.c", "mem_free(m, p); io_open(a); file_read(b); my_malloc(3); reopen(x); static_assert(1, \"\");\n", 0),
    ("src/text/a.c", "#include <assert.h>\n#include <malloc.h>\n_Static_assert(sizeof(int) == 4, \"int\");\n", 0),
    ("src/text/a.c", "void f(const char *, ...) __attribute__((format(printf, 1, 2)));\n", 0),
    ("src/text/a.c", "x = (io_table){.open = f, .read_at = g, .remove = h};\n", 0),
    ("src/text/a.h", "static inline void f(void) { abort(); }\n", 1),
    ("src/backend/cuda/a.cu", "assert(x);\n", 1),
    ("src/base/mem.c", "void f(void) { free(p); malloc(1); }\n", 0),
    ("src/base/io.c", "open(path, 0); read(h, d, 1);\n", 0),
    ("src/base/io_system.c", "mmap(0, 1, 2, 3, 4, 5);\n", 0),
    ("src/base/io_system.c", "malloc(1);\n", 1),
    ("src/base/mem.c", "open(path, 0);\n", 1),
    ("src/base/num.c", "strtod(s, 0);\n", 1),
    ("src/text/io.c", "open(path, 0);\n", 1),
    ("src/engine/a.c", 'getenv("VIVA_NO_CUDA");\n', 0),
    ("src/engine/a.c", 'x();\ngetenv("HOME");\n', 2),
    ("src/engine/a.c", "getenv(name);\n", 1),
    ("src/engine/a.c", '/* getenv("HOME") */\n', 0),
    ("src/model/a.c", 'getenv("VIVA_NO_CUDA");\n', 1),
    ("apps/a.c", 'getenv("HOME"); printf("x"); malloc(1); free(p); fopen(a, b); exit(1); strtol(a, b, 10);\n', 0),
    ("apps/a.c", "x = atoi(s);\n", 1),
    ("apps/a.c", "assert(x);\n", 1),
    ("apps/a.c", "setlocale(LC_ALL, s);\n", 1),
    ("src/format/a.c", "if (offset + size > total) return 1;\n", 1),
    ("src/format/a.c", "if (total < t->offset + t->bytes) return 1;\n", 1),
    ("src/format/a.c", "if (h.count * h.size >= rest) return 1;\n", 1),
    ("src/format/a.c", "while (a[i] + b[j] <= limit) i++;\n", 1),
    ("src/format/a.c", "for (size_t i = 0; i + 1 < n; i++) f(i + j);\nif (at + 8 > end || at + sizeof x > end) g();\n", 0),
    ("src/format/a.c", "x = a + b;\nif (a > b) x = c * d;\n", 0),
    ("src/text/a.c", "if (offset + size > total) return 1;\n", 0),
    ("include/viva/a.h", "\nVIVA_API int viva_a(int a, int b, int c, int d,\n  int e, int f, int g, int h, int i);\n", 2),
    ("include/viva/a.h", "VIVA_API int viva_a(int a, int b, int c, int d, int e, int f, int g, int h);\n", 0),
    ("include/viva/a.h", "VIVA_API int viva_a(int a, int b, int (*f)(int, int, int, int), int c, int d);\n", 0),
    ("include/viva/a.h", "typedef int (*run)(int, int, int, int, int, int, int, int, int);\n", 1),
    ("include/viva/a.h", "/* viva_a(1, 2, 3, 4, 5, 6, 7, 8, 9) */\nVIVA_API int viva_a(void);\n", 0),
    ("src/text/a.h", "int viva_a(int a, int b, int c, int d, int e, int f, int g, int h, int i);\n", 0),
]


def found(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check(Path(folder))[0]


def self_test():
    failures, count = [], 0
    for name, text, line in CASES:
        faults = found([(name, text)])
        right = [f.split(": ")[0] for f in faults] == [f"{name}:{line}"] * len(faults) and bool(faults) == bool(line)
        failures += [] if right else [f"{name}: {text!r}: expected line {line}, found {faults}"]
        count += 1
    # Every word of every rule is found outside its home and allowed inside.
    for ban in BANS:
        for word in ban.words.split():
            for folder in ban.folders:
                name = f"{folder}/new/a.c" if folder == "src" else f"{folder}/a.c"
                faults = found([(name, f"\nvoid f(void) {{ {word}(x); }}\n")])
                if len(faults) != 1 or not faults[0].startswith(f"{name}:2: {word}: "):
                    failures.append(f"{word} in {name}: {faults}")
                count += 1
            for home in ban.homes:
                inside = [f for f in found([(home.replace("*", "_x"), f'{word}("VIVA_NO_CUDA");\n')]) if ban.reason in f]
                failures += [f"{word} in its home {home}: {inside}"] if inside else []
                count += 1
    for failure in failures:
        print(failure)
    print(f"check_bans: {count} cases, {len(failures)} wrong")
    return bool(failures)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    faults, count = check(root)
    if count == 0:
        print(f"check_bans: no sources in {root}")
        return 1
    for fault in faults:
        print(fault)
    if not faults:
        print(f"check_bans: {count} files, nothing banned")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
