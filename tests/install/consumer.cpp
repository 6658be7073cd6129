#include <iostream>
#include <viva/viva.h>
// The names of viva's inside are free for a client: libviva.a must not clash with these.
extern "C" void *mem_alloc() { return nullptr; }
extern "C" int json_next() { return 0; }
int main() {
  viva_token ids[1] = {0};
  viva_session *session = nullptr;
  viva_error error = {};
  const viva_status status = viva_session_prefill(session, ids, 1, nullptr, &error);
  std::cout << viva_status_name(status) << ": " << error.message << std::endl;
  return status == VIVA_E_ARGUMENT && mem_alloc() == nullptr && json_next() == 0 ? 0 : 1;
}
