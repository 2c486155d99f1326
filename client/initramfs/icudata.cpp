// Instead of ICU's libicudata in an initramfs: the table of contents of its data, with nothing in
// it. libnbd reads URIs by libxml2, which is linked to ICU for character sets that no URI has; the
// data alone would take 31 MB of each station's memory. ICU itself has such a library for those who
// build it ("stubdata"); then what is asked for is not found.
//
// The layout is that of ICU's common data files, "ToCP" (source/common/ucmndata.h, udata.h).
#include <cstdint>

#define JOIN2(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN2(a, b, c)
#define ENTRY JOIN(icudt, ICU_VERSION, _dat)

namespace {

struct Contents {
  std::uint16_t header_size;
  std::uint8_t magic1, magic2;
  std::uint16_t info_size, reserved;
  std::uint8_t is_big_endian, charset_family, size_of_char, reserved2;
  std::uint8_t data_format[4], format_version[4], data_version[4];
  std::uint8_t padding[8];
  std::uint32_t count, reserved3;
};

}  // namespace

extern "C" {
__attribute__((visibility("default"), aligned(16))) extern const Contents ENTRY;
const Contents ENTRY = {32,           0xda,         0x27, 20, 0, 0, 0, 2, 0, {'T', 'o', 'C', 'P'},
                        {1, 0, 0, 0}, {0, 0, 0, 0}, {},   0,  0};
}
