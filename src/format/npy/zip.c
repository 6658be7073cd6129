/* format/npy/zip.c: the directory of a zip file, and its checksum. */
#include "format/npy/zip.h"

#include <inttypes.h>
#include <string.h>

#include "base/ck.h"

#define LOCAL_MARK     0x04034b50u
#define ENTRY_MARK     0x02014b50u
#define END_MARK       0x06054b50u
#define END64_MARK     0x06064b50u
#define LOCATOR64_MARK 0x07064b50u
#define IN_ZIP64       0xffffffffu

enum {
  LOCAL_BYTES = 30,
  ENTRY_BYTES = 46,
  END_BYTES = 22,
  END64_BYTES = 56,
  LOCATOR64_BYTES = 20,
  MAX_COMMENT = 65535,
  EXTRA_ZIP64 = 1,
  VERSION = 63,       /* of the format, times 10: what is newer may mean something else */
  NOT_PLAIN = 0x2061, /* flags: encrypted (the member, strongly, the directory), patches */
  NAME_PIECE = 256
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

static viva_status zip_fail(const io_file *file, viva_error *error, uint64_t offset, const char *message) {
  error_set(error, VIVA_E_FORMAT, "the zip file %s", message);
  error_at(error, file->path, NULL, 0, offset);
  return VIVA_E_FORMAT;
}

/* -- the end of the directory */

typedef struct zip_end {
  uint64_t at; /* offset of the record that says the following */
  uint64_t members, size, offset;
} zip_end;

/* When a zip64 end record exists, its numbers take the place of the short ones. end->at is the short record's. */
static viva_status read_end64(const io_file *file, zip_end *end, viva_error *error) {
  uint8_t locator[LOCATOR64_BYTES], record[END64_BYTES];
  if (end->at < LOCATOR64_BYTES) return VIVA_OK;
  TRY(io_read(file, locator, sizeof locator, end->at - LOCATOR64_BYTES, error));
  if (get32(locator) != LOCATOR64_MARK) return VIVA_OK;
  const uint64_t at = get64(locator + 8);
  if (!ck_range(at, END64_BYTES, end->at))
    return zip_fail(file, error, end->at - LOCATOR64_BYTES, "names a zip64 record that lies outside it");
  TRY(io_read(file, record, sizeof record, at, error));
  if (get32(record) != END64_MARK) return zip_fail(file, error, at, "has no zip64 record where it should be");
  *end = (zip_end){at, get64(record + 32), get64(record + 40), get64(record + 48)};
  return VIVA_OK;
}

/* Looks for the end record from the file's end. tail: its last bytes. */
static viva_status find_end(const io_file *file, const uint8_t *tail, size_t bytes, zip_end *end, viva_error *error) {
  for (size_t i = bytes >= END_BYTES ? bytes - END_BYTES + 1 : 0; i-- > 0;) {
    if (get32(tail + i) != END_MARK || get16(tail + i + 20) != bytes - i - END_BYTES) continue;
    *end = (zip_end){file->stat.bytes - bytes + i, get16(tail + i + 10), get32(tail + i + 12), get32(tail + i + 16)};
    return read_end64(file, end, error);
  }
  return zip_fail(file, error, file->stat.bytes, "has no end record; was it cut, or is it still being written?");
}

viva_status zip_open(runtime *rt, const io_file *file, zip_directory *directory, viva_error *error) {
  const uint64_t most = END_BYTES + MAX_COMMENT;
  const size_t bytes = (size_t)(file->stat.bytes < most ? file->stat.bytes : most);
  zip_end end;
  *directory = (zip_directory){0};
  uint8_t *tail = mem_alloc(&rt->mem, bytes);
  if (!tail) return error_set(error, VIVA_E_MEMORY, "no memory for the end of %s", file->path);
  viva_status status = io_read(file, tail, bytes, file->stat.bytes - bytes, error);
  if (status == VIVA_OK) status = find_end(file, tail, bytes, &end, error);
  mem_free(&rt->mem, tail);
  if (status != VIVA_OK) return status;
  if (!ck_range(end.offset, end.size, end.at) || ck_size(end.size, &directory->size))
    return zip_fail(file, error, end.at, "names a directory that lies outside it");
  directory->members = end.members;
  directory->bytes = mem_alloc(&rt->mem, directory->size);
  if (!directory->bytes) return error_set(error, VIVA_E_MEMORY, "no memory for the directory of %s", file->path);
  status = io_read(file, directory->bytes, directory->size, end.offset, error);
  if (status != VIVA_OK) {
    mem_free(&rt->mem, directory->bytes);
    directory->bytes = NULL;
  }
  return status;
}

/* -- entries */

/* Takes a value that stands in the zip64 extra field when the short one says so; 1 when it does not. */
static int take64(uint64_t *value, const uint8_t **at, size_t *left) {
  if (*value != IN_ZIP64) return 0;
  if (*left < 8) return 1;
  *value = get64(*at);
  *at += 8, *left -= 8;
  return 0;
}

/* 1 when the field is needed and missing or cut. */
static int read_extra(zip_member *m, const uint8_t *extra, size_t bytes) {
  while (bytes >= 4) {
    const size_t length = get16(extra + 2);
    if (length > bytes - 4) break;
    if (get16(extra) == EXTRA_ZIP64) {
      const uint8_t *at = extra + 4;
      size_t left = length;
      return take64(&m->bytes, &at, &left) || take64(&m->packed, &at, &left) || take64(&m->header, &at, &left);
    }
    extra += 4 + length, bytes -= 4 + length;
  }
  return m->bytes == IN_ZIP64 || m->packed == IN_ZIP64 || m->header == IN_ZIP64;
}

viva_status zip_next(const io_file *file, zip_directory *directory, zip_member *m, int *more, viva_error *error) {
  *more = directory->seen < directory->members;
  if (!*more && directory->at < directory->size)
    return zip_fail(file, error, VIVA_NO_OFFSET, "has a directory with more entries than it says");
  if (!*more) return VIVA_OK;
  const uint8_t *entry = directory->bytes + directory->at;
  const size_t left = directory->size - directory->at;
  if (left < ENTRY_BYTES || get32(entry) != ENTRY_MARK)
    return zip_fail(file, error, VIVA_NO_OFFSET, "has a directory with fewer entries than it says");
  const size_t name = get16(entry + 28), extra = get16(entry + 30), comment = get16(entry + 32);
  const size_t rest = name + extra + comment; /* each below 2^16 */
  if (rest > left - ENTRY_BYTES) return zip_fail(file, error, VIVA_NO_OFFSET, "has a directory that is cut");
  *m = (zip_member){.name = (const char *)entry + ENTRY_BYTES,
                    .name_bytes = name,
                    .version = get16(entry + 6) & 255u, /* the upper byte: a system */
                    .flags = get16(entry + 8),
                    .method = get16(entry + 10),
                    .crc = get32(entry + 16),
                    .packed = get32(entry + 20),
                    .bytes = get32(entry + 24),
                    .header = get32(entry + 42)};
  if (read_extra(m, entry + ENTRY_BYTES + name, extra))
    return zip_fail(file, error, VIVA_NO_OFFSET, "has an entry whose zip64 sizes are missing");
  directory->at += ENTRY_BYTES + rest;
  directory->seen++;
  return VIVA_OK;
}

static viva_status unsupported(const io_file *file, viva_error *error, uint64_t offset, const char *message) {
  zip_fail(file, error, offset, message);
  if (error) error->code = VIVA_E_UNSUPPORTED;
  return VIVA_E_UNSUPPORTED;
}

/* The name in the local header, against that in the directory. */
static viva_status check_name(const io_file *file, const zip_member *m, size_t bytes, viva_error *error) {
  char piece[NAME_PIECE];
  int differ = bytes != m->name_bytes;
  for (size_t at = 0; !differ && at < bytes; at += sizeof piece) {
    const size_t part = bytes - at < sizeof piece ? bytes - at : sizeof piece;
    TRY(io_read(file, piece, part, m->header + LOCAL_BYTES + at, error));
    differ = memcmp(piece, m->name + at, part) != 0;
  }
  return differ ? zip_fail(file, error, m->header, "has a member whose name is another one in its directory") : VIVA_OK;
}

viva_status zip_locate(const io_file *file, zip_member *m, viva_error *error) {
  uint8_t local[LOCAL_BYTES];
  if (!ck_range(m->header, LOCAL_BYTES, file->stat.bytes))
    return zip_fail(file, error, m->header, "has a member that lies outside it");
  TRY(io_read(file, local, sizeof local, m->header, error));
  if (get32(local) != LOCAL_MARK) return zip_fail(file, error, m->header, "has no member where its directory says");
  if (m->version > VERSION)
    return unsupported(file, error, m->header, "has a member that needs a newer version of zip than 6.3");
  if (m->flags & NOT_PLAIN)
    return unsupported(file, error, m->header,
                       "is encrypted, or a patch; expected members that are stored or deflated");
  const size_t name = get16(local + 26);
  m->offset = m->header + LOCAL_BYTES + name + get16(local + 28);
  if (!ck_range(m->offset, m->packed, file->stat.bytes))
    return zip_fail(file, error, m->header, "has a member that lies outside it");
  return check_name(file, m, name, error);
}

/* -- checksum */

#define CRC_POLYNOMIAL 0xedb88320u /* bits reversed */

/* Eight bytes at a time: table[k][b] is the effect of byte b that has k more bytes behind it. */
typedef uint32_t crc_tables[8][256];

static void crc_make(crc_tables table) {
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t c = b;
    for (int i = 0; i < 8; i++) c = c >> 1 ^ (c & 1 ? CRC_POLYNOMIAL : 0);
    table[0][b] = c;
  }
  for (int k = 1; k < 8; k++)
    for (uint32_t b = 0; b < 256; b++) table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

uint32_t zip_crc(uint32_t crc, const void *bytes, size_t count) {
  crc_tables table; /* made anew each time: some 5 us, against none for state that threads would share */
  const uint8_t *p = bytes;
  crc_make(table);
  crc = ~crc;
  for (; count >= 8; p += 8, count -= 8) {
    const uint32_t low = crc ^ get32(p), high = get32(p + 4);
    crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
          table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
  }
  for (; count > 0; p++, count--) crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
  return ~crc;
}
