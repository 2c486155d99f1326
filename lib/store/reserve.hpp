// Some room that a store keeps for itself, in the file STORE/reserve: on a full file system what is
// to be written down first, so that something can be freed, has that.
//
// Thread safety: all functions from any thread.
#pragma once

#include <cstdint>
#include <filesystem>

namespace plydisk {

class Reserve {
 public:
  explicit Reserve(const std::filesystem::path& store);

  // Takes its room, if that is much less than it should be and there is more. Without, there is
  // none: it is no error.
  void keep() const noexcept;
  // Leaves its room to others. Returns the bytes; 0: there were none.
  std::uint64_t give_up() const noexcept;
  // Only if there is hardly any other.
  void give_up_if_full() const noexcept;
  // Takes as much of what was given up as is still there.
  void take_back(std::uint64_t bytes) const noexcept;

 private:
  void allocate(std::uint64_t bytes) const;

  const std::filesystem::path store_, path_;
};

}  // namespace plydisk
