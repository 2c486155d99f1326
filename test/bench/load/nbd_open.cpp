// nbd-open URI...: connects to each in turn and reads 4 KiB from each; prints the milliseconds that
// each took, one a line. Then holds all connections until its standard input ends, so that the
// caller can look at the server meanwhile.
#include <libnbd.h>

#include <chrono>
#include <cstdio>
#include <vector>

int main(int argc, char** argv) {
  std::vector<nbd_handle*> handles;
  for (int i = 1; i < argc; ++i) {
    char data[4096];
    const auto start = std::chrono::steady_clock::now();
    nbd_handle* handle = nbd_create();
    if (handle == nullptr || nbd_connect_uri(handle, argv[i]) == -1 ||
        nbd_pread(handle, data, sizeof data, 0, 0) == -1) {
      std::fprintf(stderr, "nbd-open: %s: %s\n", argv[i], nbd_get_error());
      return 1;
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::printf("%.3f\n", took.count());
    std::fflush(stdout);
    handles.push_back(handle);
  }
  while (std::getchar() != EOF) {
  }
  for (nbd_handle* handle : handles) nbd_close(handle);
  return 0;
}
