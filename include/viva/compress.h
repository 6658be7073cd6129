/* viva/compress.h: the Blackwell-style compression engine: micro-blocks with two levels of scale.
 *
 * A tensor's values, flat and row-major, are cut into micro-blocks of (usually) 16. Each block has a scale of its own, and
 * all blocks of a segment share a global scale: the largest magnitude. Two codecs share one configuration:
 *
 *   affine   n = x / global;  code = round((n − zero_point) · scale);  x̂ = (code / scale + zero_point) · global
 *   nvfp4    E2M1 codes, an E4M3 scale for each 16 values, one FP32 number G: s = e4m3(absmax / 6 · G), 0.125 where that is 0;
 *            code = e2m1(x / (s / G));  x̂ = code · (s / G). An x of −0 has code 0; a negative x that rounds to 0 has code 8.
 *            By absmax these are compressed-tensors' bits, which rounds G = (1 / global) · 2688 (here at most 2^118);
 *            viva_prepack_nvfp4_weight multiplies with G / s: a code in 10^7 differs
 *
 * A viva_compressed is an immutable, counted handle. All its numbers lie in packed arrays; a block is a view of them.
 *
 *   viva_compression_config config = viva_nvfp4_e2m1_config();
 *   viva_compressed *c;
 *   viva_compress(engine, tensor, &config, &c, &error);
 *   viva_decompress(engine, c, &back, &error);                       F32, of the original's shape
 *   viva_compressed_release(c);
 *
 * Data that comes piece by piece goes through a viva_stream, and to disk into a container (docs/formats.md).
 *
 * Special values: an empty tensor has no blocks and 4 bytes. A block of equal values has (affine, asymmetric) code 0 and its
 * value in the zero point: exact when it is the segment's largest magnitude, else within one rounding; symmetric, it has the
 * largest code, within a few roundings. Subnormals are values like others (affine); nvfp4, whose G ends at 2^118, gives 0 for
 * a segment of them. What was finite comes back finite: x̂ is at most FP32's largest number. A NaN or an infinity is
 * VIVA_E_NUMERIC with its index, or, with keep_nonfinite, its block is stored in 32 bits.
 */
#ifndef VIVA_COMPRESS_H
#define VIVA_COMPRESS_H

#include "viva/packed.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- configuration */

typedef enum viva_codec { VIVA_CODEC_AFFINE = 0, VIVA_CODEC_NVFP4 = 1 } viva_codec;

/* What max_error_pct bounds: 100 · this / absmax, of a segment (with FIT_BLOCKS of each block). absmax is the segment's largest
 * magnitude, also where a global scale is given. */
typedef enum viva_error_measure {
  VIVA_MEASURE_MEAN = 0,    /* mean |x − x̂| */
  VIVA_MEASURE_LARGEST = 1, /* largest |x − x̂| */
  VIVA_MEASURE_RMS = 2      /* √ mean (x − x̂)² */
} viva_error_measure;

/* What is done about a bound that is missed. Wider blocks have 16 bits (halves of x / global) or 32 (x itself). */
typedef enum viva_compress_bound {
  VIVA_COMPRESS_REPORT = 0,     /* nothing: viva_compressed_desc.bound_met says it */
  VIVA_COMPRESS_FIT = 1,        /* all blocks of the segment get more bits until it holds: …, 8, 16, 32 */
  VIVA_COMPRESS_FIT_BLOCKS = 2, /* each block that misses it gets more bits: then it holds for the whole as well */
  VIVA_COMPRESS_RAW = 3         /* the segment is stored as it is, 32 bits */
} viva_compress_bound;

typedef struct viva_compression_config {
  size_t size;               /* sizeof(viva_compression_config) */
  uint32_t block_size;       /* affine: 8 … 256; nvfp4: 16 */
  uint32_t bits_per_value;   /* affine: 2 … 8; nvfp4: 4 */
  int32_t symmetric;         /* affine: 1: zero point 0 and codes ±(2^(bits−1) − 1); 0: codes 0 … 2^bits − 1 */
  viva_codec codec;          /* affine */
  double max_error_pct;      /* 0: no bound, and the error is not measured */
  viva_error_measure error;  /* mean */
  viva_compress_bound bound; /* report */
  viva_scale_search search;  /* nvfp4: how a block's scale is chosen; MSE tries 5 scales near absmax / 6 and / 4 */
  int32_t row_blocks;        /* 1: a block also ends at the end of each row (the last axis), as in packed weights */
  int32_t keep_nonfinite;    /* 1: a block with a NaN or an infinity is stored in 32 bits; 0: E_NUMERIC */
  float global_scale;        /* 0: each segment's largest magnitude; else given, finite and > 0 */
  uint64_t segment; /* values that share a global scale: 0 (all), or a multiple of block_size (with row_blocks of
                                the row's length); streams: 0 is about 2^20 */
} viva_compression_config;

VIVA_API viva_compression_config
viva_nvfp4_config(void); /* the original's: affine, 16, 4 bits, asymmetric, 2.0 % mean */
VIVA_API viva_compression_config viva_int8_config(void); /* affine, 32, 8 bits, symmetric, 0.5 % mean */
VIVA_API viva_compression_config
viva_nvfp4_e2m1_config(void); /* the real one: nvfp4, 2.0 % mean, least squared error */

/* -- compressed tensors */

typedef struct viva_compressed viva_compressed;

/* Compresses any tensor of F64, F32, F16 or BF16, whatever its strides. Bits for equal arguments are equal, whatever the
 * number of threads. Errors: E_ARGUMENT (config: the field is the error's item), E_DTYPE, E_NUMERIC (index of the value in
 * the message), E_LIMIT, E_MEMORY.
 *
 * config:     NULL: viva_nvfp4_config
 * compressed: receives one reference, ended by viva_compressed_release; NULL on failure */
VIVA_API viva_status viva_compress(viva_engine *engine, const viva_tensor *tensor,
                                   const viva_compression_config *config, viva_compressed **compressed,
                                   viva_error *error);

VIVA_API viva_compressed *viva_compressed_retain(viva_compressed *compressed); /* Thread-safe */
VIVA_API void viva_compressed_release(viva_compressed *compressed);            /* NULL is allowed. Thread-safe */

/* A new F32 tensor of the original's shape. Errors: E_ARGUMENT, E_MEMORY. */
VIVA_API viva_status viva_decompress(viva_engine *engine, const viva_compressed *compressed, viva_tensor **tensor,
                                     viva_error *error);
/* The same into the caller's memory. Errors: E_SIZE (count is not the number of elements). */
VIVA_API viva_status viva_decompress_into(viva_engine *engine, const viva_compressed *compressed, float *values,
                                          size_t count, viva_error *error);

/* What a compressed tensor is, and what was done about the bound. */
typedef struct viva_compressed_desc {
  size_t size; /* sizeof(viva_compressed_desc), set by the caller before the call */
  viva_compression_config config;
  uint32_t rank;
  int32_t bound_met; /* 1: the error is within max_error_pct in every segment, or there is no bound */
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  uint64_t num_elements;
  uint64_t blocks, segments;
  uint64_t
      memory_bytes; /* codes, scales, zero points, widths of blocks, and 4 for each segment's global scale; 4 when empty */
  uint64_t seed_memory_bytes; /* the original's formula: blocks · (block_size · bits / 8 + 8) + 4 */
  double compression_ratio;   /* 4 · num_elements / memory_bytes */
  float global_scale;         /* of the first segment; 1 when there is none */
  float reserved;
  double error_pct;       /* the worst segment's, by config.error; 0 when there is no bound */
  uint64_t blocks_raised; /* that have more bits than config asks for; of them: */
  uint64_t blocks_16, blocks_32;
  uint64_t segments_raw; /* stored as they are */
} viva_compressed_desc;

VIVA_API viva_status viva_compressed_info(const viva_compressed *compressed, viva_compressed_desc *info,
                                          viva_error *error);

/* One micro-block: a view, valid while the compressed tensor lives. */
typedef struct viva_micro_block {
  size_t size;          /* sizeof(viva_micro_block), set by the caller before the call */
  const uint8_t *codes; /* bits bits each, the first in the lowest bits */
  size_t code_bytes;
  uint32_t count;     /* values; the last block (of a row) may be short */
  uint32_t bits;      /* 2 … 8; 16: halves of x / global_scale; 32: floats */
  float scale;        /* affine: levels per unit; nvfp4: the E4M3 scale; 1 for 16 and 32 bits */
  float zero_point;   /* affine: the least n, 0 in symmetric mode; else 0 */
  float global_scale; /* the segment's */
  viva_codec codec;
  int32_t symmetric;
  int32_t reserved;
} viva_micro_block;

/* Errors: E_ARGUMENT, E_NOT_FOUND (index is not below blocks). */
VIVA_API viva_status viva_compressed_block(const viva_compressed *compressed, uint64_t index, viva_micro_block *block,
                                           viva_error *error);
/* Its codes as integers: affine 0 … 2^bits − 1 or ±(2^(bits−1) − 1); nvfp4 the 4 bits of E2M1; 16 bits: those of the half.
 * Errors: E_SIZE (count is not block->count), E_ARGUMENT (a block of 32 bits has floats, no codes). */
VIVA_API viva_status viva_micro_block_codes(const viva_micro_block *block, int32_t *codes, size_t count,
                                            viva_error *error);

/* Why a chunk is stored as it is. */
typedef enum viva_chunk_fate {
  VIVA_CHUNK_OK = 0,
  VIVA_CHUNK_MISSED_BOUND = 1, /* and config.bound is RAW */
  VIVA_CHUNK_FAILED = 2,       /* streams: twice */
  VIVA_CHUNK_LATE = 3          /* streams: past its deadline */
} viva_chunk_fate;

/* A segment of a compressed tensor, and what a stream hands out: blocks that are complete, with their scale. A view: of a
 * compressed tensor valid while that lives, of a stream during the call of the sink. */
typedef struct viva_stream_chunk {
  size_t size; /* sizeof(viva_stream_chunk), set by the caller before the call */
  uint64_t id; /* 0, 1, 2 … in order */
  uint64_t first_value, values, blocks;
  int32_t compressed; /* 0: stored raw, 32 bits */
  viva_chunk_fate fate;
  uint32_t bits; /* of all its blocks; 0: each has its own */
  float global_scale;
  double error_pct;            /* by config.error; 0 when there is no bound */
  const void *data;            /* the arrays below in one piece, as docs/formats.md has them */
  uint64_t bytes;              /* of data */
  const float *scales;         /* affine [blocks]; NULL: none (nvfp4; 16 or 32 bits) */
  const float *zero_points;    /* likewise */
  const uint8_t *nvfp4_scales; /* E4M3 [blocks]; NULL: none */
  const uint8_t *block_bits;   /* [blocks]; NULL: all have bits */
  const uint8_t *codes;        /* block after block, each from a whole byte on */
} viva_stream_chunk;

/* Errors: E_ARGUMENT, E_NOT_FOUND (index is not below segments). */
VIVA_API viva_status viva_compressed_segment(const viva_compressed *compressed, uint64_t index,
                                             viva_stream_chunk *chunk, viva_error *error);

/* -- streams */

/* A stream compresses values that come piece by piece: viva_stream_create is the original's new_stream, viva_stream_process
 * its process_chunk. Values are gathered into segments of config.segment; each complete one becomes a chunk. With a given
 * global scale the blocks that are complete after a call are handed out at once, as a shorter chunk, unless a bound (FIT,
 * FIT_BLOCKS, RAW with max_error_pct above 0) chooses bits for whole segments. However the values are cut into calls, and
 * whatever the number of workers, the chunks are the segments of viva_compress with the same config.segment; where they are
 * handed out at once, their blocks are those of viva_compress with the same scale, and error_pct is in percent of the shorter
 * chunk's own largest magnitude.
 *
 *   viva_stream_options options = viva_stream_options_default();
 *   options.on_chunk = write_chunk, options.user = file;
 *   viva_stream_create(engine, &config, &options, &stream, &error);
 *   while (read_some(values, &count)) viva_stream_process(stream, values, count, NULL, &error);
 *   viva_stream_finish(stream, &state, &error);
 *   viva_stream_free(stream);
 *
 * Supervision: one worker owns a chunk. A chunk that fails (no memory, a NaN) is tried once more, then stored raw and told so
 * for itself alone, while the others go on; so is one that a worker has had longer than the deadline: it is not waited
 * for, and another thread takes the worker's place. More failures than max_failures within failure_window_ms (those of data,
 * E_NUMERIC, do not count) stop the stream: E_LIMIT, which names the chunk. Threads share memory: a wild pointer in one is
 * the end of the process, which no supervisor mends. A thread that hangs for ever keeps its chunk's memory.
 *
 * One thread at a time may use a stream, but for viva_stream_cancel. */
typedef struct viva_stream viva_stream;

/* Told of each chunk in order, by the thread that is in process or finish. Return 0 to go on, anything else to cancel. */
typedef int (*viva_stream_fn)(void *user, const viva_stream_chunk *chunk);

typedef struct viva_stream_options {
  size_t size;          /* sizeof(viva_stream_options) */
  int32_t workers;      /* 0: the calls compress themselves, with the engine's threads; 1 … 256: threads of its own */
  uint32_t queue;       /* chunks under way at most, after which process waits; 0: 2 · workers + 2 */
  uint64_t row_length;  /* with config.row_blocks: values to a row */
  uint32_t deadline_ms; /* a worker may have a chunk this long; 0: for ever. Not without workers */
  uint32_t max_failures;      /* 3 */
  uint32_t failure_window_ms; /* 5000 */
  int32_t reserved;
  viva_stream_fn on_chunk; /* must be given */
  void *user;
  viva_progress_fn
      progress; /* NULL: none. Bytes handed out so far of bytes taken so far, after each chunk; can cancel */
  void *progress_user;
} viva_stream_options;

VIVA_API viva_stream_options viva_stream_options_default(void);

typedef struct viva_stream_state {
  size_t size; /* sizeof(viva_stream_state), set by the caller before the call */
  viva_compression_config config;
  uint64_t processed_chunks; /* handed out */
  uint64_t total_bytes_in;   /* 4 · values taken */
  uint64_t total_bytes_out;  /* of the chunks handed out: data, and 4 for each global scale */
  uint64_t values_out;       /* values in those chunks */
  uint64_t raw_chunks;       /* stored as they are; of them: */
  uint64_t failed_chunks, late_chunks, missed_chunks;
  uint64_t failures;     /* of attempts */
  uint64_t copied_bytes; /* values that had to be gathered; the others were read where the caller has them */
} viva_stream_state;

/* Errors: E_ARGUMENT, E_LIMIT (the system refused a thread), E_MEMORY. config NULL: viva_nvfp4_config. */
VIVA_API viva_status viva_stream_create(viva_engine *engine, const viva_compression_config *config,
                                        const viva_stream_options *options, viva_stream **stream, viva_error *error);

/* Takes count values; waits while the queue is full. Errors: E_CANCELLED, E_LIMIT (too many failures), E_MEMORY, E_STATE
 * (after finish). A stream that has failed gives the same error again.
 *
 * state: NULL, or filled, also after an error */
VIVA_API viva_status viva_stream_process(viva_stream *stream, const float *values, size_t count,
                                         viva_stream_state *state, viva_error *error);

/* Compresses the rest, waits for all chunks and hands them out. Errors: as process. */
VIVA_API viva_status viva_stream_finish(viva_stream *stream, viva_stream_state *state, viva_error *error);

VIVA_API viva_status viva_stream_info(const viva_stream *stream, viva_stream_state *state, viva_error *error);
VIVA_API void
viva_stream_cancel(viva_stream *stream); /* the call under way, or the next, ends with E_CANCELLED. Thread-safe */
VIVA_API void viva_stream_free(viva_stream *stream); /* NULL is allowed. Drops what was not finished */

/* -- containers: compressed tensors on disk and in pipes (docs/formats.md)
 *
 *   writing   viva_container_create(engine, "model.viva", NULL, NULL, &writer, &error);
 *             viva_container_add(writer, &tensor, compressed, &error);          or begin, then chunk by chunk of a stream
 *             viva_container_finish(writer, &error);
 *   reading   viva_container_open(engine, "model.viva", NULL, &container, &error);
 *             viva_container_load(container, 0, &compressed, &error);           with VIVA_LOAD_MMAP nothing is copied
 *
 * Each chunk has a checksum; an index stands at the end. A file written to a path appears whole or not at all; what a killed
 * writer leaves is PATH.viva-N.tmp, which opens with `recover` up to its last whole chunk, and beside it a .lock file. */
typedef struct viva_container_writer viva_container_writer;
typedef struct viva_container viva_container;

typedef struct viva_container_tensor {
  size_t size;      /* sizeof(viva_container_tensor) */
  const char *name; /* zero-ended UTF-8, up to 4096 bytes; of what is read: the container's. "" is a name */
  viva_dtype dtype; /* of the original; kept, of no effect. 0: not known */
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  uint64_t row_length;    /* with config.row_blocks; else 0 */
  uint64_t elements;      /* writing: the product of shape, or VIVA_UNKNOWN: a stream that ends some time (rank 0) */
  uint64_t chunks, bytes; /* set by reading; bytes: of data, and 4 for each chunk */
  int32_t complete; /* set by reading; 0: a file that was cut: shape is [elements], of the chunks that are there */
  int32_t reserved;
  viva_compression_config config; /* size may be 0 when writing with viva_container_add: the compressed tensor's */
} viva_container_tensor;

#define VIVA_UNKNOWN UINT64_MAX

/* Takes all of the bytes. Return 0, or anything else to end with E_IO. */
typedef int (*viva_write_fn)(void *user, const void *bytes, size_t count);
/* Up to count bytes to `bytes`; returns how many (0: the end), or a negative number to end with E_IO. */
typedef int64_t (*viva_read_fn)(void *user, void *bytes, size_t count);

/* Begins a file at path, or (path NULL) goes out through write. Errors: E_ARGUMENT, E_IO, E_MEMORY. */
VIVA_API viva_status viva_container_create(viva_engine *engine, const char *path, viva_write_fn write, void *user,
                                           viva_container_writer **writer, viva_error *error);
/* Begins a tensor; its chunks follow, in order, before the next one begins. Errors: E_ARGUMENT, E_IO, E_SIZE (the tensor
 * before has not got all its values), E_MEMORY. A writer that has failed stays failed. */
VIVA_API viva_status viva_container_begin(viva_container_writer *writer, const viva_container_tensor *tensor,
                                          viva_error *error);
VIVA_API viva_status viva_container_chunk(viva_container_writer *writer, const viva_stream_chunk *chunk,
                                          viva_error *error);
/* Begins a tensor and writes all its chunks; rank, shape, elements and config are the compressed tensor's. */
VIVA_API viva_status viva_container_add(viva_container_writer *writer, const viva_container_tensor *tensor,
                                        const viva_compressed *compressed, viva_error *error);
/* Writes the index; the file gets its name. Frees the writer, also when it fails. */
VIVA_API viva_status viva_container_finish(viva_container_writer *writer, viva_error *error);
VIVA_API void
viva_container_abort(viva_container_writer *writer); /* NULL is allowed. Removes what was written to a path */

typedef struct viva_container_options {
  size_t size;         /* sizeof(viva_container_options) */
  viva_load_mode mode; /* READ; MMAP: compressed tensors are views of the mapped file */
  int32_t recover;     /* 1: a file without its end opens up to the last whole chunk; 0: it is E_FORMAT */
} viva_container_options;

VIVA_API viva_container_options viva_container_options_default(void);

/* Untrusted input: nothing in a file can make this crash, hang, or give values whose checksum is wrong. Any number of
 * threads may load from one container. Errors: E_IO, E_FORMAT (with the place), E_UNSUPPORTED (a later version), E_MEMORY. */
VIVA_API viva_status viva_container_open(viva_engine *engine, const char *path, const viva_container_options *options,
                                         viva_container **container, viva_error *error);
VIVA_API void viva_container_close(viva_container *container); /* NULL is allowed. What was loaded stays valid */
VIVA_API size_t viva_container_count(const viva_container *container);
/* Errors: E_NOT_FOUND (index is not below count). */
VIVA_API viva_status viva_container_info(const viva_container *container, size_t index, viva_container_tensor *tensor,
                                         viva_error *error);
/* Errors: E_NOT_FOUND, E_FORMAT (a checksum, an array or a size is wrong: with the place), E_IO, E_MEMORY. */
VIVA_API viva_status viva_container_load(viva_container *container, size_t index, viva_compressed **compressed,
                                         viva_error *error);

/* Told first of each tensor (chunk and values NULL), then of each of its chunks with the values in FP32, which live during
 * the call. Return 0 to go on, anything else to cancel. */
typedef int (*viva_container_fn)(void *user, const viva_container_tensor *tensor, const viva_stream_chunk *chunk,
                                 const float *values);
/* Reads a container from its beginning to its end, as it comes through a pipe; holds one chunk at a time. Errors: as open
 * and load; E_FORMAT also where it ends too early: what was told before is right. E_CANCELLED. */
VIVA_API viva_status viva_container_scan(viva_engine *engine, viva_read_fn read, void *read_user,
                                         viva_container_fn visit, void *user, viva_error *error);

/* -- statistics */

typedef struct viva_compression_stats {
  size_t size;               /* sizeof(viva_compression_stats), set by the caller before the call */
  uint64_t original_bytes;   /* 4 · elements */
  uint64_t compressed_bytes; /* memory_bytes */
  double compression_ratio;
  double mean_error, max_error; /* of |x − x̂|; 0 when empty */
  uint64_t blocks_processed;
  double rms_error;
  double sqnr_db;        /* 10 · log10(Σ x² / Σ (x − x̂)²); infinite when there is no error */
  double mean_error_pct; /* 100 · mean_error / absmax; 0 when absmax is */
  double max_error_pct, rms_error_pct;
} viva_compression_stats;

/* Compares an original with what its compressed form gives back. Errors: E_SIZE (the shapes differ), E_DTYPE, E_MEMORY. */
VIVA_API viva_status viva_compression_statistics(viva_engine *engine, const viva_tensor *original,
                                                 const viva_compressed *compressed, viva_compression_stats *stats,
                                                 viva_error *error);

enum { VIVA_HISTOGRAM_BINS = 64 };

/* The original's definitions, in FP64 and two passes; then measures that do not depend on the data's scale. All are of the
 * finite values; all 0 when there are none. */
typedef struct viva_distribution_stats {
  size_t size;      /* sizeof(viva_distribution_stats), set by the caller before the call */
  double mean, std; /* of the population: ÷ n */
  double min_val, max_val;
  double dynamic_range; /* |max / min|, or |max| when min is 0 */
  double sparsity;      /* share with |x| < 0.001 */
  uint64_t count;       /* finite values */
  uint64_t nonfinite;   /* NaN and infinities */
  uint64_t zeros;
  double absmax;
  double relative_sparsity; /* share with |x| < absmax / 1000 */
  double low_magnitude;     /* 1 % of the magnitudes that are not 0 are below it (to 1 part in 128) */
  double magnitude_range;   /* absmax / low_magnitude */
  double kurtosis;          /* fourth central moment / variance²: 3 for a Gaussian; 0 when the variance is */
  uint64_t histogram[VIVA_HISTOGRAM_BINS]; /* equal bins from min_val to max_val, the last one closed */
} viva_distribution_stats;

VIVA_API viva_status viva_analyze(viva_engine *engine, const viva_tensor *tensor, viva_distribution_stats *stats,
                                  viva_error *error);

/* -- choosing a format */

typedef enum viva_analyze_rule {
  VIVA_ANALYZE_BOUND = 0,    /* the candidate with the fewest bytes whose error is within the bound */
  VIVA_ANALYZE_SEED_RULE = 1 /* the original's: sparsity > 0.5: viva_nvfp4_config; else dynamic_range > 1000:
                                viva_int8_config; else viva_nvfp4_config */
} viva_analyze_rule;

typedef struct viva_analyze_options {
  size_t size;              /* sizeof(viva_analyze_options) */
  viva_analyze_rule rule;   /* bound */
  viva_error_measure error; /* mean */
  double max_error_pct;     /* 2.0 */
  uint64_t sample; /* values to predict errors from, half of them the loudest runs of 256; 0: 2^18. LARGEST takes all */
} viva_analyze_options;

VIVA_API viva_analyze_options viva_analyze_options_default(void);

/* What one candidate would cost and lose. */
typedef struct viva_format_candidate {
  size_t size;      /* sizeof(viva_format_candidate), set by the caller before the call */
  const char *name; /* "nvfp4", "affine 4 bits / 64" …: static */
  viva_compression_config config;
  double bits_per_value; /* scales and all */
  double error_pct;      /* predicted, by options.error */
  double sqnr_db;        /* predicted */
} viva_format_candidate;

enum { VIVA_FORMAT_CANDIDATES = 9 };

/* Predicts every candidate's error from a sample; the candidates come with rising bytes. A prediction is an estimate: with the
 * default sample, of 1.5 million values with heavy tails (log-normal, σ = 2; ratios of Gaussians), within 0.4 dB. Errors: as
 * viva_compress.
 *
 * candidates: VIVA_FORMAT_CANDIDATES structs, each with its size set */
VIVA_API viva_status viva_analyze_candidates(viva_engine *engine, const viva_tensor *tensor,
                                             const viva_analyze_options *options, viva_format_candidate *candidates,
                                             viva_error *error);

/* Chooses a configuration and compresses with it (viva_compressed_info says which). The bound holds in the result: when
 * a prediction was wrong, the next candidate is taken, and after the last one 16 or 32 bits. Errors: as viva_compress. */
VIVA_API viva_status viva_analyze_and_compress(viva_engine *engine, const viva_tensor *tensor,
                                               const viva_analyze_options *options, viva_compressed **compressed,
                                               viva_error *error);

/* -- the memory hierarchy */

/* The original's figures, a model and not a measurement: its labels and capacities contradict its function values (the
 * caches are slower than the HBM), and both are kept as it has them. */
typedef enum viva_memory_level {
  VIVA_REGISTERS = 0,
  VIVA_L1_CACHE = 1,
  VIVA_L2_CACHE = 2,
  VIVA_HBM = 3,
  VIVA_SYSTEM_RAM = 4,
  VIVA_STORAGE = 5
} viva_memory_level;
enum { VIVA_MEMORY_LEVELS = 6 };

/* "Registers", "L1 cache" …; "unknown level" for another value. Static. */
VIVA_API const char *viva_memory_level_name(viva_memory_level level);
/* The original's label: "~10 KB", "~128 KB, 100+ GB/s" … Static. */
VIVA_API const char *viva_memory_level_label(viva_memory_level level);
VIVA_API double viva_memory_capacity_bytes(viva_memory_level level); /* the label's; NaN for another value */
VIVA_API double viva_memory_bandwidth_gbps(viva_memory_level level); /* 10000, 1000, 500, 8000, 51.2, 7; else NaN */
VIVA_API double viva_memory_latency_ns(viva_memory_level level);     /* 1, 4, 12, 200, 100, 10000; else NaN */

/* (size_mb / 1024) / bandwidth · 10^6. Errors: E_ARGUMENT (negative, NaN or infinite; another level). */
VIVA_API viva_status viva_transfer_time_us(double size_mb, viva_memory_level level, double *microseconds,
                                           viva_error *error);

/* One level of this machine, measured. */
typedef struct viva_measured_level {
  size_t size;       /* sizeof(viva_measured_level), set by the caller before the call */
  const char *name;  /* static */
  uint64_t bytes;    /* of the data that was gone over: a half of the level's size; 0: registers */
  double gb_per_s;   /* 10^9 bytes read (or copied) a second, by one thread; 0: not measured */
  double latency_ns; /* of one dependent read; 0: not measured */
} viva_measured_level;

enum { VIVA_MEASURED_LEVELS = 6 }; /* registers, L1, L2, L3, RAM, storage */

/* Takes about a second. The storage level reads the file at path (NULL: not measured) through the system, whose cache may
 * answer. Errors: E_ARGUMENT, E_MEMORY, E_IO.
 *
 * levels: VIVA_MEASURED_LEVELS structs, each with its size set */
VIVA_API viva_status viva_measure_memory(viva_engine *engine, const char *path, viva_measured_level *levels,
                                         viva_error *error);

enum { VIVA_MEASURED_DEVICE_LEVELS = 3 }; /* device memory; copies of ordinary memory to the device, and back */

/* The same of an engine's GPU. Bandwidth is that of all of its multiprocessors; a copy's latency is that of 4 bytes. Takes about
 * a second and 512 MiB on both sides. Errors: E_ARGUMENT, E_UNSUPPORTED (the engine computes in the host's memory, or on several
 * devices), E_MEMORY, E_DEVICE.
 *
 * levels: VIVA_MEASURED_DEVICE_LEVELS structs, each with its size set */
VIVA_API viva_status viva_measure_device_memory(viva_engine *engine, viva_measured_level *levels, viva_error *error);

/* -- the benchmark */

/* Receives one line of a report, without its end. */
typedef void (*viva_line_fn)(void *user, const char *line);

typedef struct viva_bench_options {
  size_t size;               /* sizeof(viva_bench_options) */
  const viva_tensor *tensor; /* NULL; else measured as well, beside the original's uniform [1024, 512] */
  const char *tensor_name;   /* for the report */
  double seconds;            /* of each measurement; 0: 0.2 */
} viva_bench_options;

VIVA_API viva_bench_options viva_bench_options_default(void);

typedef struct viva_bench_row {
  const char *data;  /* "uniform [1024, 512]", or tensor_name */
  const char *codec; /* "affine 4 bits / 16" … : static */
  viva_compression_stats stats;
  double compress_gb_per_s, decompress_gb_per_s; /* 10^9 bytes of FP32 a second, by all of the engine's threads */
} viva_bench_row;

enum { VIVA_BENCH_ROWS = 12 };

typedef struct viva_bench_result {
  size_t size; /* sizeof(viva_bench_result), set by the caller before the call */
  uint64_t count;
  double copy_gb_per_s;  /* plain copying of FP32 by the same threads, to compare with */
  double write_gb_per_s; /* plain writing */
  viva_bench_row rows[VIVA_BENCH_ROWS];
} viva_bench_result;

/* The original's benchmark: its NVFP4 and INT8, the real NVFP4, and what viva_analyze_and_compress chooses, measured here;
 * then its memory hierarchy and its figures of silicon, marked as the model they are. Tells each line of the report to write
 * (NULL: none) and returns the figures. Errors: as viva_compress.
 *
 * result: NULL, or filled */
VIVA_API viva_status viva_compression_benchmark(viva_engine *engine, const viva_bench_options *options,
                                                viva_line_fn write, void *user, viva_bench_result *result,
                                                viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
