/* format/safetensors/safetensors.c: the header of a safetensors file.
 *
 *   u64 N, little endian | N bytes of JSON | data
 *
 *   {"__metadata__": {string: string, ...},
 *    NAME: {"dtype": "BF16", "shape": [out, in], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the end of the header. The rules are the reference reader's, and stricter where its specification
 * is: the header begins with '{' (white space may only follow it), no name appears twice, every entry has exactly these
 * three members, integers are written as integers. The tensors cover the data exactly: the first begins at 0, each
 * begins where another ended, the last ends where the file does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "format/checkpoint_build.h"

#define LENGTH_BYTES     8
#define MAX_HEADER_BYTES 100000000u /* the format's own limit */

enum { MAX_RANK = 8 /* viva_stored_tensor.shape */ };

/* Of a tensor: the list while it grows, or twice in order with pointers to sort; and its name. */
#define TENSOR_COST (3 * sizeof(tensor_view) + 32)

typedef struct reader {
  checkpoint_build *b;
  uint32_t file;
  const char *path;
  int keep_metadata;
  uint64_t data_start; /* 8 + N */
  uint64_t data_bytes;
  arena *scratch;
  json j;
  size_t first; /* index of this file's first tensor in the build's list */
} reader;

static viva_status bad_length(const checkpoint_file *file, const uint8_t *first, size_t bytes, viva_error *error,
                              const char *problem) {
  const char *hint = foreign_file_hint(first, bytes);
  error_set(error, VIVA_E_FORMAT, "%s; %s", problem, hint[0] ? hint : "the file is cut or damaged: fetch it again");
  error_at(error, file->path, NULL, 0, 0);
  return VIVA_E_FORMAT;
}

/* Reads and checks N. */
static viva_status read_length(const checkpoint_file *file, uint64_t *length, viva_error *error) {
  char problem[256];
  uint8_t first[24] = {0}; /* enough to recognise a foreign file */
  uint64_t total = file->io.stat.bytes;
  size_t known = total < sizeof first ? (size_t)total : sizeof first;
  TRY(io_read(&file->io, first, known, 0, error));
  if (total < LENGTH_BYTES) {
    snprintf(
        problem, sizeof problem,
        "the file is neither GGUF (which begins with those letters) nor safetensors (which begins with 8 bytes that "
        "give its header's length): it has %" PRIu64 " bytes",
        total);
    return bad_length(file, first, known, error, problem);
  }
  uint64_t n = 0;
  for (size_t i = LENGTH_BYTES; i-- > 0;) n = n << 8 | first[i];
  if (n > MAX_HEADER_BYTES) {
    snprintf(problem, sizeof problem,
             "the file does not begin as GGUF, and as safetensors its header's length would be %" PRIu64
             ", where at most %u is allowed",
             n, MAX_HEADER_BYTES);
    return bad_length(file, first, known, error, problem);
  }
  if (n > total - LENGTH_BYTES) {
    snprintf(problem, sizeof problem, "the header's length is %" PRIu64 ", but only %" PRIu64 " bytes follow", n,
             total - LENGTH_BYTES);
    return bad_length(file, first, known, error, problem);
  }
  *length = n;
  return VIVA_OK;
}

/* A rule that an entry breaks. The entry's place in the file is at. */
static viva_status broken(const reader *r, json_string name, size_t at, viva_error *error, viva_status code,
                          const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, r->path, name.text, (ptrdiff_t)name.bytes, LENGTH_BYTES + (uint64_t)at);
  return code;
}

/* The parser's error, moved to the file's coordinates, with the tensor (or "__metadata__") as its item. */
static viva_status misread(const reader *r, json_string name, const char *member, viva_error *error, viva_status code) {
  if (!error) return code;
  char message[sizeof error->message];
  memcpy(message, error->message, sizeof message);
  uint64_t offset = error->offset == VIVA_NO_OFFSET ? VIVA_NO_OFFSET : error->offset + LENGTH_BYTES;
  error_set(error, code, "%s%s%s", member, member[0] ? ": " : "", message);
  error_at(error, r->path, name.bytes > 0 ? name.text : NULL, (ptrdiff_t)name.bytes, offset);
  return code;
}

static viva_status take_dtype(json *j, file_type *type, int *known, json_string *word, viva_error *error) {
  TRY(json_take_string(j, word, error));
  *known = type_from_safetensors(word->text, word->bytes, type);
  return VIVA_OK;
}

/* Takes an array of integers ≥ 0: at most room are kept, *count is their number. */
static viva_status take_integers(json *j, uint64_t *values, size_t room, size_t *count, viva_error *error) {
  uint64_t value;
  TRY(json_enter_array(j, error));
  for (*count = 0; json_next_element(j); ++*count) {
    TRY(json_take_u64(j, &value, error));
    if (*count < room) values[*count] = value;
  }
  return json_leave(j, error);
}

/* An entry as it is written. */
typedef struct entry {
  size_t at; /* in the header */
  int has_type, has_shape, has_offsets;
  int known_type;
  file_type type;
  json_string type_word;
  size_t rank;
  uint64_t shape[MAX_RANK];
  size_t offset_count;
  uint64_t offsets[2];
} entry;

/* Reads the members of the entry called name. */
static viva_status read_entry(reader *r, json_string name, entry *e, viva_error *error) {
  char message[256], word[64];
  json *j = &r->j;
  json_string key;
  *e = (entry){.at = j->at};
  viva_status status = json_enter_object(j, error);
  if (status != VIVA_OK) return misread(r, name, "", error, status);
  while (json_next_key(j, &key)) {
    const char *member = "";
    if (json_string_is(key, "dtype")) {
      member = "dtype";
      e->has_type = 1;
      status = take_dtype(j, &e->type, &e->known_type, &e->type_word, error);
    } else if (json_string_is(key, "shape")) {
      member = "shape";
      e->has_shape = 1;
      status = take_integers(j, e->shape, MAX_RANK, &e->rank, error);
    } else if (json_string_is(key, "data_offsets")) {
      member = "data_offsets";
      e->has_offsets = 1;
      status = take_integers(j, e->offsets, 2, &e->offset_count, error);
    } else {
      snprintf(message, sizeof message, "unknown member \"%s\"; expected dtype, shape and data_offsets",
               error_quote(word, sizeof word, key.text, key.bytes));
      return broken(r, name, e->at, error, VIVA_E_FORMAT, message);
    }
    if (status != VIVA_OK) return misread(r, name, member, error, status);
  }
  status = json_leave(j, error);
  return status == VIVA_OK ? VIVA_OK : misread(r, name, "", error, status);
}

/* The shape as text, for messages. */
static const char *shape_text(const entry *e, char *buffer, size_t size) {
  size_t at = (size_t)snprintf(buffer, size, "[");
  for (size_t i = 0; i < e->rank && at < size; i++)
    at += (size_t)snprintf(buffer + at, size - at, "%s%" PRIu64, i > 0 ? ", " : "", e->shape[i]);
  if (at < size) snprintf(buffer + at, size - at, "]");
  return buffer;
}

/* Checks what can be said of one entry alone; fills view's shape, elements and bytes. message: size bytes. */
static viva_status check_entry(const reader *r, const entry *e, tensor_view *view, char *message, size_t size) {
  char shape[8 * 22 + 4], word[64];
  const char *missing = !e->has_type ? "dtype" : !e->has_shape ? "shape" : !e->has_offsets ? "data_offsets" : NULL;
  if (missing) {
    snprintf(message, size, "the member \"%s\" is missing", missing);
    return VIVA_E_FORMAT;
  }
  if (!e->known_type) {
    snprintf(
        message, size,
        "viva does not know the dtype \"%s\"; it knows BF16, F16, F32, F64, F8_E4M3 and the rest of safetensors' list",
        error_quote(word, sizeof word, e->type_word.text, e->type_word.bytes));
    return VIVA_E_UNSUPPORTED;
  }
  if (e->rank > MAX_RANK) {
    snprintf(message, size, "the shape has %zu dimensions; viva reads at most %d", e->rank, MAX_RANK);
    return VIVA_E_UNSUPPORTED;
  }
  if (e->offset_count != 2) {
    snprintf(message, size, "data_offsets has %zu numbers; expected 2: begin and end", e->offset_count);
    return VIVA_E_FORMAT;
  }
  uint64_t begin = e->offsets[0], end = e->offsets[1], elements = 1;
  shape_text(e, shape, sizeof shape);
  for (size_t i = 0; i < e->rank; i++) {
    if (!ck_mul(elements, e->shape[i], &elements)) continue;
    snprintf(message, size, "the shape %s has more elements than 64 bits can count", shape);
    return VIVA_E_FORMAT;
  }
  if (type_bytes(e->type, elements, &view->bytes)) {
    snprintf(message, size, "the shape %s of %s is not a whole number of bytes that 64 bits can count", shape,
             type_name(e->type));
    return VIVA_E_FORMAT;
  }
  if (begin > end) {
    snprintf(message, size, "data_offsets [%" PRIu64 ", %" PRIu64 "] end before they begin", begin, end);
    return VIVA_E_FORMAT;
  }
  if (end > r->data_bytes) {
    snprintf(message, size,
             "data_offsets [%" PRIu64 ", %" PRIu64 "] reach beyond the %" PRIu64
             " bytes of data in the file: it is cut or damaged",
             begin, end, r->data_bytes);
    return VIVA_E_FORMAT;
  }
  if (end - begin != view->bytes) {
    snprintf(message, size,
             "the shape %s of %s needs %" PRIu64 " bytes, and data_offsets [%" PRIu64 ", %" PRIu64 "] give %" PRIu64,
             shape, type_name(e->type), view->bytes, begin, end, end - begin);
    return VIVA_E_FORMAT;
  }
  view->elements = elements;
  return VIVA_OK;
}

/* Before its entry is read: what follows may carry the name around. */
static viva_status check_name(const reader *r, json_string name, viva_error *error) {
  char message[96];
  if (name.bytes > TENSOR_NAME_MOST) {
    snprintf(message, sizeof message, "a tensor's name of %zu bytes; at most %d are read", name.bytes,
             TENSOR_NAME_MOST);
    return broken(r, name, r->j.at, error, VIVA_E_FORMAT, message);
  }
  return allowance_memory(&r->b->ck->allowance, TENSOR_COST + name.bytes, "the list of tensors", r->path, error);
}

static viva_status read_tensor(reader *r, json_string name, viva_error *error) {
  char message[384];
  entry e;
  TRY(check_name(r, name, error));
  TRY(read_entry(r, name, &e, error));
  if (memchr(name.text, 0, name.bytes))
    return broken(r, name, e.at, error, VIVA_E_FORMAT, "a tensor's name holds a zero byte");
  tensor_view view = {.type = e.type, .rank = (uint32_t)e.rank, .file = r->file};
  viva_status status = check_entry(r, &e, &view, message, sizeof message);
  if (status != VIVA_OK) return broken(r, name, e.at, error, status, message);
  memcpy(view.shape, e.shape, sizeof view.shape);
  view.offset = r->data_start + e.offsets[0]; /* ≤ the file's size: checked */
  view.name = arena_text(r->b->ck->arena, name.text, name.bytes);
  tensor_view *place = grow_add(&r->b->ck->rt->mem, &r->b->tensors);
  if (!view.name || !place) return checkpoint_build_no_memory(r->path, "the list of tensors", error);
  *place = view;
  return VIVA_OK;
}

static viva_status read_metadata(reader *r, viva_error *error) {
  static const json_string item = {"__metadata__", 12};
  json *j = &r->j;
  json_string key, value;
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error); /* the format's own reader takes it */
  viva_status status = json_enter_object(j, error);
  while (status == VIVA_OK && json_next_key(j, &key)) {
    status = json_take_string(j, &value, error);
    if (status == VIVA_OK && r->keep_metadata) TRY(metadata_add(r->b, key, "string", value, 1, error));
  }
  if (status == VIVA_OK) status = json_leave(j, error);
  return status == VIVA_OK ? VIVA_OK : misread(r, item, "", error, status);
}

static viva_status read_header(reader *r, viva_error *error) {
  static const json_string nothing = {"", 0};
  json *j = &r->j;
  json_string key;
  viva_status status = json_enter_object(j, error);
  if (status != VIVA_OK) return misread(r, nothing, "", error, status);
  while (json_next_key(j, &key))
    TRY(json_string_is(key, "__metadata__") ? read_metadata(r, error) : read_tensor(r, key, error));
  status = json_leave(j, error);
  if (status == VIVA_OK) status = json_finish(j, error);
  return status == VIVA_OK ? VIVA_OK : misread(r, nothing, "", error, status);
}

/* By place; empty tensors, which share their place with the next one, first. */
static int compare_places(const void *a, const void *b) {
  const tensor_view *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors, taken in order, must cover the data without holes or overlaps. */
static viva_status walk_places(const reader *r, const void **order, size_t count, viva_error *error) {
  const viva_checkpoint *ck = r->b->ck;
  const uint64_t end = r->data_start + r->data_bytes;
  uint64_t expected = r->data_start;
  for (size_t i = 0; i < count; i++) {
    const tensor_view *view = order[i];
    if (view->offset > expected)
      return checkpoint_fail(ck, view, error, VIVA_E_FORMAT,
                             "the %" PRIu64 " bytes in front of this tensor belong to no tensor",
                             view->offset - expected);
    if (view->offset < expected)
      return checkpoint_fail(ck, view, error, VIVA_E_FORMAT, "this tensor's bytes overlap those of %s",
                             ((const tensor_view *)order[i - 1])->name);
    expected = view->offset + view->bytes;
  }
  if (expected == end) return VIVA_OK;
  error_set(error, VIVA_E_FORMAT, "the last %" PRIu64 " bytes of the file belong to no tensor", end - expected);
  error_at(error, r->path, NULL, 0, expected);
  return VIVA_E_FORMAT;
}

static viva_status check_coverage(const reader *r, viva_error *error) {
  mem *m = &r->b->ck->rt->mem;
  const grow *tensors = &r->b->tensors;
  const void **order = grow_sorted(m, tensors, r->first, compare_places);
  if (!order) return checkpoint_build_no_memory(r->path, "the list of tensors", error);
  viva_status status = walk_places(r, order, tensors->count - r->first, error);
  mem_free(m, order);
  return status;
}

static viva_status parse(reader *r, const char *text, size_t bytes, viva_error *error) {
  if (bytes == 0 || text[0] != '{') {
    error_set(error, VIVA_E_FORMAT, "the header must begin with '{'");
    error_at(error, r->path, NULL, 0, LENGTH_BYTES);
    return VIVA_E_FORMAT;
  }
  json_begin(&r->j, r->b->ck->rt, r->scratch, r->path, text, bytes);
  TRY(read_header(r, error));
  return check_coverage(r, error);
}

viva_status safetensors_read(checkpoint_build *b, uint32_t file, int keep_metadata, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  const checkpoint_file *place = &ck->files[file];
  uint64_t length;
  TRY(read_length(place, &length, error));
  /* A private copy even in map mode: what is checked must be what is used. */
  size_t bytes = (size_t)length;
  TRY(allowance_memory(&ck->allowance, length + length / 2, "the header", place->path, error)); /* text and scratch */
  char *text = mem_alloc(&ck->rt->mem, bytes);
  reader r = {.b = b,
              .file = file,
              .path = place->path,
              .keep_metadata = keep_metadata,
              .data_start = LENGTH_BYTES + length,
              .data_bytes = place->io.stat.bytes - LENGTH_BYTES - length,
              .scratch = arena_create(&ck->rt->mem, bytes / 2),
              .first = b->tensors.count};
  viva_status status = VIVA_OK;
  if (!text || !r.scratch) status = checkpoint_build_no_memory(place->path, "the header", error);
  if (status == VIVA_OK) status = io_read(&place->io, text, bytes, LENGTH_BYTES, error);
  if (status == VIVA_OK) status = parse(&r, text, bytes, error);
  arena_free(r.scratch);
  mem_free(&ck->rt->mem, text);
  return status;
}
