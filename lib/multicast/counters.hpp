// What came of multicast at a station, since it was attached.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace plydisk {

struct MulticastCounters {
  std::uint64_t packets = 0;      // of the image's stream
  std::uint64_t foreign = 0;      // packets of other streams, or of nobody that is known
  std::uint64_t unwanted = 0;     // packets of chunks that were not to be taken, or were there
  std::uint64_t lost = 0;         // packets that did not arrive, by their numbers
  std::uint64_t heard = 0;        // chunks that came whole, and right
  std::uint64_t used = 0;         // of these, those of which something was read
  std::uint64_t aged = 0;         // that were dropped for their age, unused
  std::uint64_t crowded_out = 0;  // that made room for others, unused or unfinished
  std::uint64_t wrong = 0;        // chunks that were not what their hash says
  std::uint64_t asked = 0;        // chunks that the server was asked to send
  std::uint64_t refused = 0;      // of these, those that it did not send
  std::uint64_t missed = 0;       // that it sent, and that did not come
  std::uint64_t bytes_heard = 0, bytes_unicast = 0;  // that were read, in either way

  // Under these names they are shown, and told to the server.
  static constexpr std::array fields{std::pair{"packets", &MulticastCounters::packets},
                                     std::pair{"foreign", &MulticastCounters::foreign},
                                     std::pair{"unwanted", &MulticastCounters::unwanted},
                                     std::pair{"lost", &MulticastCounters::lost},
                                     std::pair{"heard", &MulticastCounters::heard},
                                     std::pair{"used", &MulticastCounters::used},
                                     std::pair{"aged", &MulticastCounters::aged},
                                     std::pair{"crowded_out", &MulticastCounters::crowded_out},
                                     std::pair{"wrong", &MulticastCounters::wrong},
                                     std::pair{"asked", &MulticastCounters::asked},
                                     std::pair{"refused", &MulticastCounters::refused},
                                     std::pair{"missed", &MulticastCounters::missed},
                                     std::pair{"bytes_heard", &MulticastCounters::bytes_heard},
                                     std::pair{"bytes_unicast", &MulticastCounters::bytes_unicast}};

  MulticastCounters& operator+=(const MulticastCounters& other) {
    for (const auto& [name, field] : fields) this->*field += other.*field;
    return *this;
  }
};

}  // namespace plydisk
