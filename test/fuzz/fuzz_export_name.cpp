// Export names come from the network: any bytes are a name in the grammar or an error, and a name
// that passes is written back as it was read.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.hpp"
#include "store/names.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const plydisk::ExportName name = plydisk::parse_export_name(text);
    for (const auto& part : {name.image, name.station.value_or("a"), name.session.value_or("a")})
      if (!part.empty() && !plydisk::is_valid_name(part)) std::abort();
    const auto again = plydisk::parse_export_name(plydisk::to_string(name));
    if (plydisk::to_string(again) != plydisk::to_string(name)) std::abort();
  } catch (const plydisk::Error&) {
    // Refused, with a sentence.
  }
  return 0;
}
