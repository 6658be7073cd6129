/* base/json_keys.c: the set of keys of an object, to refuse duplicates.
 *
 * The work is linear in the keys even for keys that were chosen to hurt: the hash is SipHash-1-3 under a random key.
 */
#include <string.h>

#include "base/json_inner.h"

#define MIN_SLOTS 32u        /* for the first keys beyond JSON_FEW_KEYS */
#define MAX_KEYS  (1u << 30) /* so that indices and slots fit 32 bits */

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static void sip_round(uint64_t v[4]) {
  v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
  v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one round a word and three at the end. The
 * words are read in the machine's byte order: the hash never leaves this process. */
static uint64_t sip_hash(const uint64_t key[2], json_string s) {
  uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                   key[1] ^ 0x7465646279746573u};
  size_t at = 0;
  for (; s.bytes - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, s.text + at, 8);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  uint64_t last = 0;
  memcpy(&last, s.text + at, s.bytes - at);
  last ^= (uint64_t)s.bytes << 56;
  v[3] ^= last;
  sip_round(v);
  v[0] ^= last;
  v[2] ^= 0xff;
  sip_round(v), sip_round(v), sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static int same(json_string a, json_string b) { return a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0; }

/* Room for one more key: the list doubles. */
static int grow_list(json_keys *keys, arena *a) {
  if (keys->count < keys->list_room) return 0;
  if (keys->count >= MAX_KEYS) return 1;
  uint32_t room = keys->list_room == 0 ? JSON_FEW_KEYS : keys->list_room * 2;
  json_string *list = arena_alloc(a, room * sizeof *list);
  if (!list) return 1;
  if (keys->count > 0) memcpy(list, keys->list, keys->count * sizeof *list);
  keys->list = list;
  keys->list_room = room;
  return 0;
}

static void insert(json_keys *keys, uint64_t hash, uint32_t index) {
  uint32_t mask = keys->slots_used - 1, at = (uint32_t)hash & mask;
  while (keys->slots[at] != 0) at = (at + 1) & mask;
  keys->slots[at] = (hash & 0xFFFFFFFF00000000u) | (index + 1);
}

/* Makes a table of `used` slots with all keys in it. Only the slots in use are cleared, so that a small object that
 * follows a large one costs little. */
static int build_table(json_keys *keys, arena *a, const uint64_t hash_key[2], uint32_t used) {
  if (used > keys->slots_room) {
    uint64_t *slots = arena_alloc(a, used * sizeof *slots);
    if (!slots) return 1;
    keys->slots = slots;
    keys->slots_room = used;
  }
  memset(keys->slots, 0, used * sizeof *keys->slots);
  keys->slots_used = used;
  for (uint32_t i = 0; i < keys->count; i++) insert(keys, sip_hash(hash_key, keys->list[i]), i);
  return 0;
}

static int find_few(const json_keys *keys, json_string key) {
  for (uint32_t i = 0; i < keys->count; i++)
    if (same(keys->list[i], key)) return 1;
  return 0;
}

static int find_hashed(const json_keys *keys, json_string key, uint64_t hash) {
  uint32_t mask = keys->slots_used - 1;
  for (uint32_t at = (uint32_t)hash & mask; keys->slots[at] != 0; at = (at + 1) & mask) {
    uint64_t slot = keys->slots[at];
    if ((slot ^ hash) >> 32 == 0 && same(keys->list[(uint32_t)slot - 1], key)) return 1;
  }
  return 0;
}

viva_status json_keys_add(json_keys *keys, arena *a, const uint64_t hash_key[2], json_string key, int *known) {
  if (keys->count < JSON_FEW_KEYS) {
    *known = find_few(keys, key);
    if (*known) return VIVA_OK;
    if (grow_list(keys, a)) return VIVA_E_MEMORY;
    keys->list[keys->count++] = key;
    return VIVA_OK;
  }
  /* At most half of the slots are taken. */
  uint32_t wanted = keys->count == JSON_FEW_KEYS ? MIN_SLOTS : keys->slots_used;
  if (2 * (keys->count + 1) > wanted) wanted *= 2;
  if ((keys->count == JSON_FEW_KEYS || wanted != keys->slots_used) && build_table(keys, a, hash_key, wanted))
    return VIVA_E_MEMORY;
  uint64_t hash = sip_hash(hash_key, key);
  *known = find_hashed(keys, key, hash);
  if (*known) return VIVA_OK;
  if (grow_list(keys, a)) return VIVA_E_MEMORY;
  insert(keys, hash, keys->count);
  keys->list[keys->count++] = key;
  return VIVA_OK;
}
