// Random identifiers, and the kernel's boot id.
#pragma once

#include <string>

namespace plydisk {

// A random (version 4) UUID in its usual text form.
std::string random_uuid();
// `digits` random hexadecimal digits.
std::string random_hex(unsigned digits);
// A value that changes at each boot of this machine.
std::string boot_id();

}  // namespace plydisk
