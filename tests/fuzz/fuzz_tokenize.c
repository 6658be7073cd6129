/* Any text against small vocabularies. Ids lie in the vocabulary, a stream shows what decode shows, a vocabulary without
 * normalization and stripping gives the text back; and the fast way (words remembered, pieces cut at joints, with a text
 * long enough for both) gives the ids of the slow one, which is the one that tells offsets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LARGEST 4096 /* bytes of text looked at */

/* Tokenizers of the 256 bytes and some merges. 0: gives text back. 1: strips, normalizes, takes whole tokens. 2: puts
 * spaces in front. 3: lacks most bytes. 4: of SentencePiece's kind, as Llama 2. 5: the same with Metaspace. */
enum { TOKENIZERS = 6, BYTE_LEVEL = 4 };

static const char gives_back[] =
    "\"added_tokens\":[{\"id\":265,\"content\":\"<s>\",\"special\":true},{\"id\":266,\"content\":\"<t\",\"normalized\":"
    "true},"
    "{\"id\":267,\"content\":\"<t><\"},{\"id\":268,\"content\":\"ab\",\"single_word\":true}],"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}";
static const char strips[] =
    "\"added_tokens\":[{\"id\":265,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},"
    "{\"id\":266,\"content\":\"<t>\",\"rstrip\":true},{\"id\":267,\"content\":\" \",\"rstrip\":true,\"lstrip\":true},"
    "{\"id\":268,\"content\":\"\xc3\xa9\",\"normalized\":true}],\"normalizer\":{\"type\":\"NFC\"},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\"},"
    "{\"type\":\"ByteLevel\",\"use_regex\":false,\"add_prefix_space\":false}]}";
static const char prefixes[] =
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}";
static const char lacks[] = "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";

static const char llama[] =
    "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"normalizer\":{\"type\":\"Sequence\","
    "\"normalizers\":["
    "{\"type\":\"Prepend\",\"prepend\":\"_\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
    "\"},\"content\":\"_\"}]},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":"
    "\" \"},"
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}";
static const char mark[] =
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\",\"split\":true},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}";

static const char *const configurations[TOKENIZERS] = {gives_back, strips, prefixes, lacks, llama, mark};

/* The whole file of a tokenizer of SentencePiece's kind. */
static size_t write_characters(int which, char *text, size_t size) {
  static const char vocabulary[] = "\"<s>\":0,\"a\":1,\"b\":2,\"ab\":3,\"abab\":4,\"_\":5,\"_a\":6,\"__\":7,"
                                   "\"\xc3\xa9\":8,\"a\xc3\xa9\":9,\"e\":10,\"ee\":11";
  size_t at =
      (size_t)snprintf(text, size,
                       "{%s,\"model\":{\"unk_token\":\"<s>\",\"fuse_unk\":true,\"byte_fallback\":true,\"merges\":["
                       "\"a b\",\"_ a\",\"ab ab\",\"_ _\",\"a \xc3\xa9\",\"e e\"],\"vocab\":{%s",
                       configurations[which], vocabulary);
  for (int byte = 0; byte < 256; byte++)
    at += (size_t)snprintf(text + at, size - at, ",\"<0x%02X>\":%d", (unsigned)byte, 12 + byte);
  return at + (size_t)snprintf(text + at, size - at, "}}}");
}

static viva_tokenizer *make(int which) {
  static const char *const merges[] = {"a", "b", "ab", "ab", "\xc4\xa0", "a", "\xc4\xa0\x61", "b", "b", "c", "a", "bc",
                                       "t", "h", "th", "e",  "e",        "e"};
  char text[32768];
  size_t at = (size_t)snprintf(
      text, sizeof text,
      "{%s,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"ignore_merges\":%s,\"unk_token\":\"a\",\"vocab\":{",
      configurations[which], which == 1 ? "true" : "false");
  int id = 0, count = sizeof merges / sizeof *merges / 2;
  for (int byte = 0; byte < 256; byte++) {
    char written[4];
    if (which == 3 && byte >= 0x80) continue;
    size_t n = utf8_encode(byte_alphabet_char((uint8_t)byte), written);
    const char *escape = byte == '"' || byte == '\\' ? "\\" : "";
    at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%s%.*s\":%d", id ? "," : "", escape, (int)n, written, id);
    id++;
  }
  for (int i = 0; i < count; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, ",\"%s%s\":%d", merges[2 * i], merges[2 * i + 1], id++);
  at += (size_t)snprintf(text + at, sizeof text - at, "},\"merges\":[");
  for (int i = 0; i < count; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%s[\"%s\",\"%s\"]", i ? "," : "", merges[2 * i],
                           merges[2 * i + 1]);
  at += (size_t)snprintf(text + at, sizeof text - at, "]}}");
  if (which >= BYTE_LEVEL) at = write_characters(which, text, sizeof text);
  viva_tokenizer *t;
  viva_error error;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  if (tokenizer_from_json(rt, "fuzz", text, at, &t, &error)) {
    fprintf(stderr, "configuration %d: %s\n", which, error.message);
    abort();
  }
  runtime_release(rt);
  return t;
}

static size_t decode(viva_tokenizer *t, const viva_token *ids, size_t count, char *out, size_t capacity) {
  size_t bytes;
  const viva_decode_options options = {sizeof options, 0};
  if (viva_tokenizer_decode(t, ids, count, &options, out, capacity, &bytes, NULL)) abort();
  if (!utf8_valid(out, bytes)) abort();
  return bytes;
}

static void check_stream(viva_tokenizer *t, const viva_token *ids, size_t count, const char *expected, size_t bytes) {
  viva_decoder *d;
  const viva_decode_options options = {sizeof options, 0};
  size_t at = 0;
  if (viva_decoder_create(t, &options, &d, NULL)) abort();
  for (size_t i = 0; i <= count; i++) {
    const char *piece;
    size_t n;
    if (i < count ? viva_decoder_push(d, ids[i], &piece, &n, NULL) : viva_decoder_finish(d, &piece, &n, NULL)) abort();
    if (n > bytes - at || memcmp(piece, expected + at, n) != 0 || !utf8_valid(piece, n)) abort();
    at += n;
  }
  if (at != bytes) abort();
  viva_decoder_free(d);
}

/* The text again and again, so that words come back and the memory of them is used. */
static void check_fast(const viva_tokenizer *t, const char *text, size_t bytes, const viva_encode_options *options) {
  enum { LONG = 600 };
  static char repeated[LONG];
  static viva_token fast[4 * LONG], slow[4 * LONG];
  static viva_span spans[4 * LONG];
  size_t n = 0, fast_count, slow_count;
  if (bytes == 0) return;
  while (n + bytes <= LONG) {
    memcpy(repeated + n, text, bytes);
    n += bytes;
  }
  if (viva_tokenizer_encode(t, repeated, n, options, fast, 4 * LONG, &fast_count, NULL)) abort();
  viva_encode_options with_offsets = *options;
  with_offsets.offsets = spans;
  if (viva_tokenizer_encode(t, repeated, n, &with_offsets, slow, 4 * LONG, &slow_count, NULL)) abort();
  if (fast_count != slow_count || memcmp(fast, slow, fast_count * sizeof *fast) != 0) abort();
  for (size_t i = 0; i < slow_count; i++)
    if (spans[i].begin > spans[i].end || spans[i].end > n) abort();
}

/* The text in parts, cut wherever that is said to be safe, gives the ids of the whole. */
static void check_parts(const viva_tokenizer *t, const char *text, size_t bytes, const viva_encode_options *options) {
  static viva_token whole[8 * LARGEST], parts[8 * LARGEST];
  enum { ROOM = 8 * LARGEST };
  encode_request request = {.match_special = options->match_special};
  size_t count, n, total = 0;
  if (encode_request_run(t, &request, text, bytes, whole, ROOM, &count, NULL)) abort();
  while (bytes > 0) {
    size_t cut = 0;
    for (size_t seen = 16; cut == 0 && seen < bytes; seen *= 2) cut = cuts_last(t, text, 0, seen);
    if (cut == 0) cut = bytes;
    if (encode_request_run(t, &request, text, cut, parts + total, ROOM - total, &n, NULL)) abort();
    request.continues = 1;
    total += n;
    text += cut;
    bytes -= cut;
  }
  if (total != count || memcmp(whole, parts, count * sizeof *whole) != 0) abort();
}

/* The text with U+FFFD for what is not UTF-8. */
static size_t as_valid(const char *text, size_t size, char *out) {
  size_t n = 0;
  for (size_t at = 0; at < size;) {
    uint32_t code;
    size_t invalid, length = utf8_decode(text + at, size - at, &code, &invalid);
    n += utf8_encode(code, out + n);
    at += length ? length : invalid;
  }
  return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static viva_tokenizer *tokenizers[TOKENIZERS];
  static viva_token ids[8 * LARGEST];
  static char decoded[16 * LARGEST], valid[4 * LARGEST];
  if (!tokenizers[0])
    for (int i = 0; i < TOKENIZERS; i++) tokenizers[i] = make(i);
  if (size == 0 || size > LARGEST) return 0;
  int which = data[0] % TOKENIZERS;
  viva_tokenizer *t = tokenizers[which];
  const char *text = (const char *)data + 1;
  size_t bytes = size - 1, count;
  const viva_encode_options options = {sizeof options, data[0] >> 4 & 1, data[0] >> 5 & 1, NULL};
  if (viva_tokenizer_encode(t, text, bytes, &options, ids, sizeof ids / sizeof *ids, &count, NULL)) abort();
  for (size_t i = 0; i < count; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= viva_tokenizer_vocab_size(t)) abort();
  if (data[0] >> 6 & 1) check_fast(t, text, bytes, &options);
  if (data[0] >> 7 & 1) check_parts(t, text, bytes, &options);
  size_t n = decode(t, ids, count, decoded, sizeof decoded);
  check_stream(t, ids, count, decoded, n);
  if (which == 0 && (n != as_valid(text, bytes, valid) || memcmp(decoded, valid, n) != 0)) abort();
  /* the text's bytes as ids */
  for (size_t i = 0; i < bytes; i++) ids[i] = (viva_token)(data[1 + i] % viva_tokenizer_vocab_size(t));
  n = decode(t, ids, bytes, decoded, sizeof decoded);
  check_stream(t, ids, bytes, decoded, n);
  return 0;
}
