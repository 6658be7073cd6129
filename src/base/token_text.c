#include "base/token_text.h"

#include <string.h>

#define TURN (TOKEN_TEXT_SPECIAL | TOKEN_TEXT_ENDS)

static const struct {
  const char *text;
  unsigned found;
} table[] = {
    {"<|eot_id|>", TURN},
    {"<|im_end|>", TURN},
    {"<|end|>", TURN | TOKEN_TEXT_END},
    {"<|return|>", TURN | TOKEN_TEXT_RETURN},
    {"<|call|>", TURN | TOKEN_TEXT_CALL},
    {"<|flush|>", TURN | TOKEN_TEXT_FLUSH},
    {"<|calls|>", TURN | TOKEN_TEXT_CALL},
    {"<end_of_turn>", TURN},
    {"<|endoftext|>", TURN},
    {"</s>", TOKEN_TEXT_ENDS | TOKEN_TEXT_STRIKE},
    {"<|eom_id|>", TURN},
    {"<EOT>", TURN},
    {"_<EOT>", TURN},
    {"[EOT]", TURN},
    {"[EOS]", TURN},
    {"<|end_of_text|>", TURN},
    {"<end_of_utterance>", TURN},
    {"<eos>", TURN},
    {"<turn|>", TURN},
    {"<|tool_response>", TURN | TOKEN_TEXT_RESPONSE},
    {"<｜end▁of▁sentence｜>", TURN},
    {"[e~[", TURN},
    /* What pads or parts the files of a repository ends an answer too. */
    {"<|fim_pad|>", TURN},
    {"<fim-pad>", TURN},
    {"<fim_pad>", TURN},
    {"<PAD>", TURN},
    {"[PAD]", TURN},
    {"<|fim_repo|>", TURN},
    {"<|repo_name|>", TURN},
    {"<fim-repo>", TURN},
    {"<REPO>", TURN},
    {"<reponame>", TURN},
    {"<|file_sep|>", TURN},
    /* What fills the middle is special, and ends nothing. */
    {"<|fim_prefix|>", TOKEN_TEXT_SPECIAL},
    {"<fim-prefix>", TOKEN_TEXT_SPECIAL},
    {"<fim_prefix>", TOKEN_TEXT_SPECIAL},
    {"<｜fim▁begin｜>", TOKEN_TEXT_SPECIAL},
    {"<PRE>", TOKEN_TEXT_SPECIAL},
    {"▁<PRE>", TOKEN_TEXT_SPECIAL},
    {"<|code_prefix|>", TOKEN_TEXT_SPECIAL},
    {"<|prefix|>", TOKEN_TEXT_SPECIAL},
    {"<|fim_suffix|>", TOKEN_TEXT_SPECIAL},
    {"<fim-suffix>", TOKEN_TEXT_SPECIAL},
    {"<fim_suffix>", TOKEN_TEXT_SPECIAL},
    {"<｜fim▁hole｜>", TOKEN_TEXT_SPECIAL},
    {"<SUF>", TOKEN_TEXT_SPECIAL},
    {"▁<SUF>", TOKEN_TEXT_SPECIAL},
    {"<|code_suffix|>", TOKEN_TEXT_SPECIAL},
    {"<|suffix|>", TOKEN_TEXT_SPECIAL},
    {"<|fim_middle|>", TOKEN_TEXT_SPECIAL},
    {"<fim-middle>", TOKEN_TEXT_SPECIAL},
    {"<fim_middle>", TOKEN_TEXT_SPECIAL},
    {"<｜fim▁end｜>", TOKEN_TEXT_SPECIAL},
    {"<MID>", TOKEN_TEXT_SPECIAL},
    {"▁<MID>", TOKEN_TEXT_SPECIAL},
    {"<|code_middle|>", TOKEN_TEXT_SPECIAL},
    {"<|middle|>", TOKEN_TEXT_SPECIAL},
};

unsigned token_text_find(const char *text, size_t bytes) {
  if (bytes < 4 || (text[bytes - 1] != '>' && text[bytes - 1] != ']' && text[bytes - 1] != '[')) return 0;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strlen(table[i].text) == bytes && memcmp(table[i].text, text, bytes) == 0) return table[i].found;
  return 0;
}

int token_text_ends(unsigned found, unsigned all) {
  unsigned harmony = TOKEN_TEXT_RETURN | TOKEN_TEXT_CALL, solar = TOKEN_TEXT_FLUSH | TOKEN_TEXT_CALL;
  if (!(found & TOKEN_TEXT_ENDS)) return 0;
  if (found & TOKEN_TEXT_END)
    return (all & harmony) != harmony && (all & solar) != solar; /* ends one message of a turn */
  return !(found & TOKEN_TEXT_STRIKE) || !(all & TOKEN_TEXT_RESPONSE);
}
