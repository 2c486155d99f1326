// How a station's engine and its server talk besides the disk: over an NBD export of its own,
// ".control/IMAGE@STATION+TOKEN", so that one port and one set-up of TLS serve both. For hello the
// image may be left out, if the server knows it by itself.
//
// A write at 0 is a request, JSON-RPC as in protocol.hpp; a read at 0 is its answer, or the banner
// if there was no request yet. A read at `event_offset` waits for the next request of the server to
// the station, and is empty after a while. Texts end with a NUL, and what lies behind is zeros.
//
//   challenge                                 {recipe, nonce}, null without a secret
//   hello     version*, writes*, proof*       {station, image, uuid, version, size, writes,
//                                             foundation, on_station}
//   ended     uuid                            {ended}  of the image; whether the session is gone
//   may       writes                          {}     whether the station may choose these
//   state                                     {writes, survives, has_volatile,
//                                             is_attached, writer, foundation, image}, as in
//                                             Upstream::SessionState
//   redirect  writes, above_volatile,         {writes}
//             on_station, writer, carry
//   freeze    number, goes_on                 {}     as Store::freeze_for_station()
//   sent      number, error*                 {}     all of the version's part is there; or why it
//                                                    does not come
//   end                                       {}
//   join      counters*                       {group, port, interface, stream, size, timeout,
//                                             memory}  subscribes to the multicast of the
//                                             session's version, or renews that
//   leave                                     {}
//   hashes    range                           {chunks}  of so many from number 4096 · range on; a
//                                             read at `hashes_offset` then has a byte for each,
//                                             1 if there is a hash, and those hashes, in order
//   answer    to, result* or error*           {}     what came of the server's request; neither:
//                                                    it has arrived
//
// The proof is prove() of secret.hpp, for the message that proof_message() makes of the nonce; the
// challenge and hello go over the same connection.
//
// The server asks: redirect (writes, carry, force), as on its control socket; ended, when the
// session was ended there; multicast (action: join, leave or status); and version (number), to make
// one of the disk as it is now. The station calls freeze, answers {bytes}, and sends so many from
// its own layers in the background: as writes and zeroes, of whole sectors and at their places on
// the disk, to the export
// ".upload/IMAGE@STATION+TOKEN.NUMBER", then calls sent. What has not arrived soon is asked again:
// a read may have been left behind by a connection that is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace plydisk::station_protocol {

inline constexpr std::string_view control_prefix = ".control/";
inline constexpr std::string_view upload_prefix = ".upload/";
inline constexpr std::string_view banner = R"({"plydisk":1})";
inline constexpr std::size_t longest_message = std::size_t{64} << 10;  // bytes
// What is read first. A station that has nothing to do reads so much each second.
inline constexpr std::size_t usual_message = std::size_t{1} << 10;
inline constexpr std::uint64_t event_offset = std::uint64_t{1} << 20;
inline constexpr std::uint64_t hashes_offset = std::uint64_t{3} << 19;
inline constexpr std::uint64_t size = std::uint64_t{2} << 20;

inline std::string proof_message(const std::string& nonce, const std::string& station,
                                 const std::string& token) {
  return "plydisk\n" + nonce + "\n" + station + "\n" + token;
}

}  // namespace plydisk::station_protocol
