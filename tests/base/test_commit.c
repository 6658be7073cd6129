/* Outputs that appear whole or not at all, on the real file system: what they never touch, what a kill at any call leaves,
 * and what a power cut could. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/commit.h"
#include "lib/power_io.h"

/* This definition takes the C library's place: a kernel or file system that knows no flags is a test's choice. */
static int refuse_flags;
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  if (refuse_flags) return errno = EINVAL, -1;
  return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

static char root[64], out[128];

static int begin(void **state) {
  (void)state;
  refuse_flags = 0;
  snprintf(root, sizeof root, "/tmp/viva-test-commit-XXXXXX");
  if (mkdtemp(root) == NULL) return 1;
  snprintf(out, sizeof out, "%s/out", root);
  return 0;
}

static int end(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

static const char *in_root(const char *name) {
  static char path[2][192];
  static int turn;
  turn = !turn;
  snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
  return path[turn];
}

static void put(const char *path, const char *text) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static int holds(const char *path, const char *text) {
  char data[64] = {0};
  FILE *f = fopen(path, "rb");
  if (f == NULL) return 0;
  size_t n = fread(data, 1, sizeof data - 1, f);
  fclose(f);
  return n == strlen(text) && memcmp(data, text, n) == 0;
}

static int names(const char *path) {
  DIR *d = opendir(path);
  int count = -2; /* . and .. */
  while (d && readdir(d) != NULL) count++;
  if (d) closedir(d);
  return count;
}

static viva_status write_into(runtime *rt, const char *folder, const char *name, const char *text, viva_error *error) {
  char path[256];
  io_writer *w;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  TRY(writer_open(rt, path, NULL, &w, error));
  TRY(writer_write(w, text, strlen(text), error)); /* a test that fails here may leak */
  return writer_commit(w, error);
}

/* A folder with two files. between: called when all is written, before the last step. */
static viva_status write_folder(runtime *rt, const commit_options *o, const char *text, void (*between)(void),
                                viva_error *error) {
  commit c;
  TRY(commit_begin(rt, out, CLAIM_FOLDER, o, &c, error));
  viva_status status = write_into(rt, c.claim.temporary, "config.json", text, error);
  if (!status) status = write_into(rt, c.claim.temporary, "weights", text, error);
  if (!status && between) between();
  if (!status) status = commit_publish(&c, error);
  commit_end(&c);
  return status;
}

static int is_folder_of(const char *text) {
  char path[160];
  snprintf(path, sizeof path, "%s/weights", out);
  return holds(path, text) && holds(in_root("out/config.json"), text) && names(out) == 2;
}

static int no_sync(void *user, int handle) {
  (void)user, (void)handle;
  return 0;
}

static int no_folder_sync(void *user, const char *folder) {
  (void)user, (void)folder;
  return 0;
}

/* The system's, without waiting for the disk: a kill takes nothing that is in the kernel's memory. */
static const io_table *quick(void) {
  static io_table table;
  table = io_system;
  table.sync = no_sync;
  table.sync_folder = no_folder_sync;
  return &table;
}

static runtime *on(const io_table *io) {
  runtime *rt = runtime_create(NULL, io, NULL, NULL, VIVA_LOG_WARN);
  assert_non_null(rt);
  return rt;
}

static const commit_options never = {.replace = 0}, always = {.replace = 1};

/* ---- without leave nothing is touched */

static void a_thesis_appears(void) {
  assert_int_equal(mkdir(out, 0777), 0);
  put(in_root("out/thesis.txt"), "my thesis");
}

static void an_empty_folder_appears(void) { assert_int_equal(mkdir(out, 0777), 0); }
static void a_file_appears(void) { put(out, "my thesis"); }
static void a_dangling_link_appears(void) { assert_int_equal(symlink("nowhere", out), 0); }

static void what_appears_meanwhile_is_not_touched(void **state) {
  (void)state;
  void (*const appear[])(void) = {a_thesis_appears, an_empty_folder_appears, a_file_appears, a_dangling_link_appears};
  for (int flags = 0; flags < 2; flags++)
    for (size_t i = 0; i < sizeof appear / sizeof *appear; i++) {
      struct stat before, after;
      viva_error e = {0};
      runtime *rt = on(NULL);
      refuse_flags = flags;
      assert_int_equal(write_folder(rt, &never, "new", appear[i], &e), VIVA_E_IO);
      assert_int_equal(names(root), 1);
      assert_int_equal(lstat(out, &after), 0);
      before = after;
      assert_int_equal(write_folder(rt, &never, "new", NULL, &e),
                       VIVA_E_IO); /* nor what was there from the beginning */
      assert_int_equal(lstat(out, &after), 0);
      assert_int_equal(before.st_ino, after.st_ino);
      if (i == 0) assert_true(holds(in_root("out/thesis.txt"), "my thesis"));
      runtime_release(rt);
      end(state), begin(state);
    }
}

static void a_file_is_not_touched_either(void **state) {
  (void)state;
  for (refuse_flags = 0; refuse_flags < 2; refuse_flags++) {
    runtime *rt = on(NULL);
    io_writer *w;
    viva_error e = {0};
    assert_int_equal(writer_open(rt, out, &never, &w, &e), VIVA_OK);
    put(out, "my thesis");
    assert_int_equal(writer_commit(w, &e), VIVA_E_IO);
    assert_true(holds(out, "my thesis"));
    assert_int_equal(names(root), 1);
    unlink(out);
    assert_int_equal(writer_open(rt, out, &never, &w, &e), VIVA_OK);
    assert_int_equal(writer_commit(w, &e), VIVA_OK);
    assert_true(holds(out, ""));
    unlink(out);
    runtime_release(rt);
  }
}

static void links_are_not_written_through(void **state) {
  (void)state;
  runtime *rt = on(NULL);
  viva_error e = {0};
  io_writer *w;
  put(in_root("target"), "target");
  assert_int_equal(symlink("target", out), 0);
  assert_int_equal(writer_open(rt, out, NULL, &w, &e), VIVA_E_IO);
  assert_non_null(strstr(e.message, "symbolic link"));
  assert_int_equal(write_folder(rt, &always, "new", NULL, &e), VIVA_E_IO);
  assert_non_null(strstr(e.message, "symbolic link"));
  assert_true(holds(in_root("target"), "target"));
  assert_int_equal(names(root), 2);
  runtime_release(rt);
}

/* ---- inputs */

static io_stat stat_of(const char *path) {
  io_stat s = {0};
  assert_int_equal(io_system.stat_path(NULL, path, &s), 0);
  return s;
}

static io_stat input;
static void the_input_moves_in(void) { assert_int_equal(link(in_root("in"), in_root("out/weights2")), 0); }

static void inputs_are_never_replaced(void **state) {
  (void)state;
  runtime *rt = on(NULL);
  viva_error e = {0};
  io_writer *w;
  put(in_root("in"), "input");
  input = stat_of(in_root("in"));
  const commit_options o = {.replace = 1, .inputs = &input, .input_count = 1};
  assert_int_equal(writer_open(rt, in_root("in"), &o, &w, &e), VIVA_E_ARGUMENT); /* itself */
  assert_int_equal(link(in_root("in"), in_root("hard")), 0);
  assert_int_equal(writer_open(rt, in_root("hard"), &o, &w, &e), VIVA_E_ARGUMENT); /* by another name */
  assert_int_equal(write_folder(rt, &never, "old", NULL, &e), VIVA_OK);
  assert_int_equal(write_folder(rt, &o, "new", the_input_moves_in, &e), VIVA_E_ARGUMENT); /* after the first look */
  assert_true(holds(in_root("out/weights2"), "input"));
  assert_int_equal(write_folder(rt, &o, "new", NULL, &e), VIVA_E_ARGUMENT);
  assert_int_equal(unlink(in_root("out/weights2")), 0);
  assert_int_equal(symlink("../in", in_root("out/linked")), 0);
  assert_int_equal(write_folder(rt, &o, "new", NULL, &e), VIVA_E_ARGUMENT);
  assert_int_equal(unlink(in_root("out/linked")), 0);
  assert_true(is_folder_of("old"));
  assert_int_equal(write_folder(rt, &o, "new", NULL, &e), VIVA_OK);
  assert_true(is_folder_of("new"));
  assert_true(holds(in_root("in"), "input"));
  runtime_release(rt);
}

static void without_an_exchange_no_folder_is_replaced(void **state) {
  (void)state;
  runtime *rt = on(NULL);
  viva_error e = {0};
  assert_int_equal(write_folder(rt, &never, "old", NULL, &e), VIVA_OK);
  refuse_flags = 1;
  assert_int_equal(write_folder(rt, &always, "new", NULL, &e), VIVA_E_IO);
  assert_non_null(strstr(e.message, "cannot exchange"));
  assert_true(is_folder_of("old"));
  assert_int_equal(names(root), 1);
  runtime_release(rt);
}

/* ---- left-overs */

static void what_only_looks_like_a_leftover_stays(void **state) {
  (void)state;
  runtime *rt = on(NULL);
  viva_error e = {0};
  assert_int_equal(mkdir(in_root("out.viva-0.tmp"), 0777), 0);
  put(in_root("out.viva-0.tmp/thesis.txt"), "my thesis");
  put(in_root("out.viva-1.lock"), "my own lock");
  put(in_root("out.viva-2.tmp"), "a file");
  put(in_root("out.viva-2.lock"), ""); /* as a kill leaves one at the beginning */
  assert_int_equal(write_folder(rt, &never, "new", NULL, &e), VIVA_OK);
  assert_true(holds(in_root("out.viva-0.tmp/thesis.txt"), "my thesis"));
  assert_true(holds(in_root("out.viva-1.lock"), "my own lock"));
  assert_true(holds(in_root("out.viva-2.tmp"), "a file"));
  assert_int_equal(names(root), 4);
  runtime_release(rt);
}

/* A process that is alive keeps what it makes. */
static void a_living_neighbour_is_left_alone(void **state) {
  (void)state;
  runtime *rt = on(NULL);
  viva_error e = {0};
  commit c;
  assert_int_equal(commit_begin(rt, out, CLAIM_FOLDER, &always, &c, &e), VIVA_OK);
  assert_int_equal(write_into(rt, c.claim.temporary, "config.json", "mine", &e), VIVA_OK);
  assert_int_equal(write_into(rt, c.claim.temporary, "weights", "mine", &e), VIVA_OK);
  pid_t child = fork();
  if (child == 0) _exit(write_folder(rt, &always, "other", NULL, &e) != VIVA_OK);
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(how, 0);
  assert_true(is_folder_of("other"));
  assert_int_equal(commit_publish(&c, &e), VIVA_OK);
  commit_end(&c);
  assert_true(is_folder_of("mine"));
  assert_int_equal(names(root), 1);
  runtime_release(rt);
}

/* ---- kills */

static int calls_left;
static void count_call(void) {
  if (calls_left-- == 0) raise(SIGKILL);
}

static int kill_open(void *u, const char *path, io_open_mode mode) {
  return count_call(), io_system.open(u, path, mode);
}
static int kill_rename(void *u, const char *a, const char *b) { return count_call(), io_system.rename(u, a, b); }
static int kill_rename_new(void *u, const char *a, const char *b) {
  return count_call(), io_system.rename_new(u, a, b);
}
static int kill_exchange(void *u, const char *a, const char *b) { return count_call(), io_system.exchange(u, a, b); }
static int kill_remove(void *u, const char *path) { return count_call(), io_system.remove(u, path); }
static int kill_make(void *u, const char *path) { return count_call(), io_system.make_folder(u, path); }
static int kill_unmake(void *u, const char *path) { return count_call(), io_system.remove_folder(u, path); }
static int kill_lock(void *u, int handle) { return count_call(), io_system.lock(u, handle); }
static int kill_close(void *u, int handle) { return count_call(), io_system.close(u, handle); }
static int kill_sync(void *u, int handle) { return count_call(), no_sync(u, handle); }
static int64_t kill_write(void *u, int handle, const void *data, size_t bytes, uint64_t offset) {
  return count_call(), io_system.write_at(u, handle, data, bytes, offset);
}

static io_table killing_table(void) {
  io_table t = *quick();
  t.open = kill_open, t.rename = kill_rename, t.rename_new = kill_rename_new, t.exchange = kill_exchange;
  t.remove = kill_remove, t.make_folder = kill_make, t.remove_folder = kill_unmake, t.lock = kill_lock;
  t.close = kill_close, t.sync = kill_sync, t.write_at = kill_write;
  return t;
}

static viva_status write_one(runtime *rt, int folder, const char *text, viva_error *e) {
  return folder ? write_folder(rt, &always, text, NULL, e) : write_into(rt, root, "out", text, e);
}

/* Killed before each call that changes something, in turn: the old one or the new one, and the next run tidies up. */
static void a_kill_at_any_call_leaves_the_old_or_the_new(void **state) {
  for (int folder = 0; folder < 2; folder++)
    for (int existing = 0; existing < 2; existing++) {
      int at = 0, how = -1;
      for (; how != 0; at++) {
        viva_error e = {0};
        runtime *rt = on(quick());
        if (existing) assert_int_equal(write_one(rt, folder, "old", &e), VIVA_OK);
        pid_t child = fork();
        if (child == 0) {
          io_table table = killing_table();
          calls_left = at;
          _exit(write_one(on(&table), folder, "new", &e) != VIVA_OK);
        }
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(how == 0 || (WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL));
        int is_new = folder ? is_folder_of("new") : holds(out, "new");
        int is_old = folder ? is_folder_of("old") : holds(out, "old");
        assert_true(is_new || (existing ? is_old : access(out, F_OK) != 0));
        assert_true(how != 0 || is_new);
        assert_int_equal(write_one(rt, folder, "newer", &e), VIVA_OK);
        assert_true(folder ? is_folder_of("newer") : holds(out, "newer"));
        assert_int_equal(names(root), 1);
        runtime_release(rt);
        end(state), begin(state);
      }

      assert_true(at > (folder ? 25 : 10));
    }
}

/* ---- many at once */

static void one_of_many_writers_wins(void **state) {
  enum { WRITERS = 8, ROUNDS = 40 };
  for (int round = 0; round < ROUNDS; round++) {
    pid_t children[WRITERS];
    int won = 0, lost = 0;
    for (int i = 0; i < WRITERS; i++)
      if ((children[i] = fork()) == 0) {
        viva_error e = {0};
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        viva_status status = write_folder(on(quick()), &never, text, NULL, &e);
        _exit(status == VIVA_OK ? 10 + i : status == VIVA_E_IO && strstr(e.message, "exists already") ? 1 : 2);
      }
    char winner[8] = "";
    for (int i = 0; i < WRITERS; i++) {
      int how;
      assert_int_equal(waitpid(children[i], &how, 0), children[i]);
      assert_true(WIFEXITED(how) && WEXITSTATUS(how) != 2);
      lost += WEXITSTATUS(how) == 1;
      if (WEXITSTATUS(how) >= 10) won++, snprintf(winner, sizeof winner, "%d", WEXITSTATUS(how) - 10);
    }
    assert_int_equal(won, 1);
    assert_int_equal(lost, WRITERS - 1);
    assert_true(is_folder_of(winner));
    assert_int_equal(names(root), 1);
    end(state), begin(state);
  }
}

/* Another writer replaces OUT while it is looked at, and removes what was there file by file. */
static viva_status replaced_meanwhile(runtime *rt, const char *path, const char *name, viva_error *error) {
  (void)rt, (void)path;
  struct stat file;
  if (stat(in_root("out/config.json"), &file) != 0) return error_set(error, VIVA_E_IO, "%s has no config.json", name);
  if (!holds(in_root("out/config.json"), "old")) return VIVA_OK;
  assert_int_equal(rename(out, in_root("gone")), 0);
  assert_int_equal(rename(in_root("other"), out), 0);
  return error_set(error, VIVA_E_IO, "%s has no config.json", name);
}

static void what_another_writer_replaces_is_looked_at_again(void **state) {
  (void)state;
  const commit_options o = {.replace = 1, .may_replace = replaced_meanwhile};
  viva_error e = {0};
  runtime *rt = on(quick());
  assert_int_equal(write_folder(rt, &never, "other", NULL, &e), VIVA_OK);
  assert_int_equal(rename(out, in_root("other")), 0);
  assert_int_equal(write_folder(rt, &never, "old", NULL, &e), VIVA_OK);
  assert_int_equal(write_folder(rt, &o, "new", NULL, &e), VIVA_OK);
  assert_true(is_folder_of("new"));
  assert_int_equal(names(root), 2); /* and gone */
  assert_int_equal(unlink(in_root("out/config.json")), 0);
  assert_int_equal(write_folder(rt, &o, "newer", NULL, &e), VIVA_E_IO); /* that is how it stays */
  assert_int_equal(names(root), 2);
  runtime_release(rt);
}

/* ---- power cuts */

static void a_power_cut_leaves_the_old_or_the_new(void **state) {
  for (int folder = 0; folder < 2; folder++)
    for (int existing = 0; existing < 2; existing++) {
      viva_error e = {0};
      runtime *rt = on(NULL);
      size_t states;
      if (existing) assert_int_equal(write_one(rt, folder, "old", &e), VIVA_OK);
      runtime_release(rt);
      power_io *p = power_io_create(root);
      rt = on(power_io_table(p));
      assert_int_equal(write_one(rt, folder, "new", &e), VIVA_OK);
      runtime_release(rt);
      assert_int_equal(power_io_replay(p, "out", 200, &states), 0);
      assert_true(states > 1000);
      power_io_free(p);
      end(state), begin(state);
    }
}

/* The replay would see it: a commit whose syncs of folders are left out is torn in some state. */
static void the_replay_can_fail(void **state) {
  (void)state;
  viva_error e = {0};
  runtime *rt = on(NULL);
  size_t states;
  assert_int_equal(write_folder(rt, &always, "old", NULL, &e), VIVA_OK);
  runtime_release(rt);
  power_io *p = power_io_create(root);
  io_table table = *power_io_table(p);
  table.sync_folder = no_folder_sync;
  rt = on(&table);
  assert_int_equal(write_folder(rt, &always, "new", NULL, &e), VIVA_OK);
  runtime_release(rt);
  assert_true(power_io_replay(p, "out", 200, &states) > 0);
  power_io_free(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
int main(void) {
  const struct CMUnitTest tests[] = {TEST(what_appears_meanwhile_is_not_touched),
                                     TEST(a_file_is_not_touched_either),
                                     TEST(links_are_not_written_through),
                                     TEST(inputs_are_never_replaced),
                                     TEST(without_an_exchange_no_folder_is_replaced),
                                     TEST(what_only_looks_like_a_leftover_stays),
                                     TEST(a_living_neighbour_is_left_alone),
                                     TEST(a_kill_at_any_call_leaves_the_old_or_the_new),
                                     TEST(one_of_many_writers_wins),
                                     TEST(what_another_writer_replaces_is_looked_at_again),
                                     TEST(a_power_cut_leaves_the_old_or_the_new),
                                     TEST(the_replay_can_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
