// Preloaded with a sanitizer's library, and begins it before any other library begins. It would
// begin in the midst of what that does first, and that may be libp11-kit's newlocale(), which holds
// the locale's lock: it then asks dlerror() for a text, which takes and leaves that lock too. The
// lock has one reader too few from there on, and exit() waits in that library's destructor for
// ever.

extern "C" {
[[gnu::weak]] void __asan_init();
[[gnu::weak]] void __tsan_init();
}

namespace {

[[gnu::constructor]] void begin_sanitizer() {
  if (__asan_init != nullptr) __asan_init();
  if (__tsan_init != nullptr) __tsan_init();
}

}  // namespace
