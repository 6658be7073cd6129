/* viva/viva.h: run Llama-family language models. This header includes all others.
 *
 * An engine is a device with its threads and memory. A model is loaded on an engine, is immutable, and may be shared. A
 * session is one timeline on a model. All you need for text:
 *
 *   #include <stdio.h>
 *   #include <string.h>
 *   #include <viva/viva.h>
 *
 *   int main(int argc, char **argv) {
 *     viva_engine *engine = NULL;
 *     viva_model *model = NULL;
 *     viva_generate_result *result = NULL;
 *     viva_error error = {0};
 *     if (argc < 3 || viva_engine_open(NULL, &engine, &error) ||
 *         viva_model_load(engine, argv[1], NULL, &model, &error) ||
 *         viva_generate(model, argv[2], strlen(argv[2]), NULL, &result, &error))
 *       fprintf(stderr, "%s\n", error.message);
 *     else
 *       puts(result->text);
 *     viva_generate_result_free(result), viva_model_release(model), viva_engine_release(engine);
 *   }
 *
 * Rules that hold everywhere:
 * - A call returns VIVA_OK (0) or a negative viva_status; the optional viva_error says what, where, and what to do.
 * - On failure output handles are NULL, and the objects involved are as they were, unless the call says otherwise.
 * - Option structs begin with their size, by which the library knows older clients: fill them with their *_default()
 *   function, then change what you need. NULL means the defaults. Information structs that the caller provides have
 *   their size member set by the caller. A shorter struct is an older client's; a longer one is a newer client's and
 *   must hold zeros where this library knows no member. A size that no struct has (below two members, no multiple of
 *   sizeof(size_t)) is E_ARGUMENT.
 * - Handles that say "reference" are counted and thread-safe to retain and release; the others have one owner.
 * - The library never exits, aborts, prints, installs signal handlers or changes the locale. VIVA_NO_CUDA, read when an
 *   engine is opened, is the one environment variable it looks at.
 */
#ifndef VIVA_H
#define VIVA_H

#include "viva/chat.h"
#include "viva/checkpoint.h"
#include "viva/compress.h"
#include "viva/dlpack.h"
#include "viva/engine.h"
#include "viva/file.h"
#include "viva/generator.h"
#include "viva/linear.h"
#include "viva/model.h"
#include "viva/npy.h"
#include "viva/packed.h"
#include "viva/quantize.h"
#include "viva/sampling.h"
#include "viva/status.h"
#include "viva/tensor.h"
#include "viva/tensor_algebra.h"
#include "viva/tensor_into.h"
#include "viva/tensor_ops.h"
#include "viva/tensor_select.h"
#include "viva/tensor_text.h"
#include "viva/tokenizer.h"
#include "viva/types.h"
#include "viva/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0": the version of the library in use. The VIVA_VERSION_* macros give that of the headers. */
VIVA_API const char *viva_version(void);

#ifdef __cplusplus
}
#endif
#endif
