/* The tokenizer's handle, and questions about its vocabulary. Encoding is in encode.c, decoding in decode.c. */
#include "viva/tokenizer.h"

#include "text/encode.h"

viva_tokenizer_options viva_tokenizer_options_default(void) {
  return (viva_tokenizer_options){.size = sizeof(viva_tokenizer_options)};
}

viva_tokenizer *viva_tokenizer_retain(viva_tokenizer *tokenizer) {
  if (tokenizer) atomic_fetch_add_explicit(&tokenizer->references, 1, memory_order_relaxed);
  return tokenizer;
}

void viva_tokenizer_release(viva_tokenizer *tokenizer) {
  if (!tokenizer) return;
  if (atomic_fetch_sub_explicit(&tokenizer->references, 1, memory_order_acq_rel) != 1) return;
  runtime *rt = tokenizer->rt;
  mem *m = &rt->mem;
  for (size_t i = 0; i < TOKENIZER_IDLE; i++) encode_memory_free(atomic_load(&tokenizer->idle[i]));
  vocab_destroy(m, &tokenizer->vocab);
  joints_destroy(m, &tokenizer->joints);
  known_destroy(m, &tokenizer->known);
  bpe_destroy(m, &tokenizer->bpe);
  added_destroy(m, &tokenizer->as_written);
  added_destroy(m, &tokenizer->normalized);
  decode_table_destroy(m, &tokenizer->decode);
  arena_free(tokenizer->parts);
  mem_free(m, tokenizer->renamed);
  mem_free(m, tokenizer->prefix);
  mem_free(m, tokenizer->suffix);
  mem_free(m, tokenizer);
  runtime_release(rt);
}

size_t viva_tokenizer_vocab_size(const viva_tokenizer *tokenizer) { return tokenizer ? tokenizer->vocab.count : 0; }

viva_status viva_tokenizer_id_to_token(const viva_tokenizer *tokenizer, viva_token id, const char **text, size_t *bytes,
                                       viva_error *error) {
  if (!tokenizer || !text || !bytes)
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, text and bytes must not be NULL");
  if (!vocab_has(&tokenizer->vocab, id))
    return error_set(error, VIVA_E_NOT_FOUND, "no token has id %d; the vocabulary has ids below %zu", id,
                     tokenizer->vocab.count);
  token_text t = vocab_text(&tokenizer->vocab, (uint32_t)id);
  *text = t.text;
  *bytes = t.bytes;
  return VIVA_OK;
}

viva_status viva_tokenizer_token_to_id(const viva_tokenizer *tokenizer, const char *text, size_t bytes, viva_token *id,
                                       viva_error *error) {
  if (!tokenizer || !id || (!text && bytes > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, text and id must not be NULL");
  int64_t found = vocab_find(&tokenizer->vocab, text ? text : "", bytes);
  if (found < 0) {
    char quoted[80];
    return error_set(error, VIVA_E_NOT_FOUND, "no token is written '%s'",
                     error_quote(quoted, sizeof quoted, text ? text : "", bytes));
  }
  *id = (viva_token)found;
  return VIVA_OK;
}

int viva_tokenizer_is_special(const viva_tokenizer *tokenizer, viva_token id) {
  return tokenizer && vocab_has(&tokenizer->vocab, id) && (tokenizer->vocab.flags[id] & VOCAB_SPECIAL) != 0;
}

viva_token viva_tokenizer_bos(const viva_tokenizer *tokenizer) { return tokenizer ? tokenizer->bos : -1; }
viva_token viva_tokenizer_eos(const viva_tokenizer *tokenizer) { return tokenizer ? tokenizer->eos : -1; }
int viva_tokenizer_add_bos(const viva_tokenizer *tokenizer) { return tokenizer ? tokenizer->add_bos : 0; }
