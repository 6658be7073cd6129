/* format/npy/zip.h: what of zip a .npz needs: the directory, members stored or deflated, checksums.
 *
 *   member:     "PK\3\4" local header (30 bytes), name, extra, data
 *   directory:  for each member "PK\1\2" (46 bytes), name, extra, comment
 *   end:        [zip64 end record, its locator,] "PK\5\6" (22 bytes), comment: found by looking from the file's end
 *
 * Sizes and offsets of 0xffffffff stand in the zip64 extra field (id 1) of the entry. The directory rules; of a local
 * header only the name, which must be the same, and the length of its extra field are used. The directory must hold the
 * members that the end says, and nothing else.
 */
#ifndef FORMAT_NPY_ZIP_H
#define FORMAT_NPY_ZIP_H

#include "base/runtime.h"

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8 };

typedef struct zip_member {
  const char *name; /* not zero-ended, in the directory's bytes */
  size_t name_bytes;
  uint16_t version, method, flags; /* version: needed to read it, times 10 */
  uint32_t crc;
  uint64_t packed, bytes; /* stored in the file; as the member's contents */
  uint64_t header;        /* offset of the local header */
  uint64_t offset;        /* of the data; set by zip_locate */
} zip_member;

typedef struct zip_directory {
  uint8_t *bytes; /* mem_free'd by the reader */
  size_t size, at;
  uint64_t members, seen;
} zip_directory;

/* Finds and reads the directory. E_FORMAT, E_IO, E_MEMORY. */
viva_status zip_open(runtime *rt, const io_file *file, zip_directory *directory, viva_error *error);
/* The next member; *more is 0 at the end, which must be the directory's. */
viva_status zip_next(const io_file *file, zip_directory *directory, zip_member *member, int *more, viva_error *error);
/* Reads the local header and checks it, and that the data lies within the file. */
viva_status zip_locate(const io_file *file, zip_member *member, viva_error *error);

/* The checksum of zip, carried on from crc (0 at first). */
uint32_t zip_crc(uint32_t crc, const void *bytes, size_t count);

typedef enum inflate_result { INFLATE_END, INFLATE_FULL, INFLATE_SHORT, INFLATE_BAD } inflate_result;

/* Unpacks raw deflate data (RFC 1951) into out, and says why it stopped: the stream's end, out is full, in is at its
 * end, or the data is no deflate stream. *made: bytes written; *used: bytes of in that were touched. */
inflate_result zip_inflate(const void *in, size_t in_bytes, void *out, size_t room, size_t *made, size_t *used);

#endif
