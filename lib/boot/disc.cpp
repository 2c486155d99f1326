#include "boot/disc.hpp"

#include <gnutls/crypto.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/hex.hpp"
#include "base/uuid.hpp"

namespace plydisk {

namespace {

// The primary volume descriptor, ECMA-119, 8.4.
constexpr std::uint64_t descriptor_at = 32768;  // bytes
constexpr std::size_t descriptor_size = 2048;
constexpr std::size_t name_at = 40, name_size = 32;
constexpr std::size_t blocks_at = 80;       // 32 bits, little-endian
constexpr std::size_t block_size_at = 128;  // 16 bits, little-endian
constexpr std::size_t application_at = 574, application_size = 128;

std::string text_at(const std::vector<char>& bytes, std::size_t at, std::size_t size) {
  const std::string text(bytes.data() + at, size);
  const auto last = text.find_last_not_of(std::string_view(" \0", 2));
  return text.substr(0, last == text.npos ? 0 : last + 1);
}

std::uint64_t number_at(const std::vector<char>& bytes, std::size_t at, unsigned size) {
  std::uint64_t number = 0;
  for (unsigned i = size; i > 0; --i)
    number = number << 8U | static_cast<unsigned char>(bytes[at + i - 1]);
  return number;
}

bool is_label_character(char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

}  // namespace

std::optional<DiscVolume> read_disc_volume(const File& medium) {
  if (medium.size() < descriptor_at + descriptor_size) return std::nullopt;
  std::vector<char> bytes(descriptor_size);
  medium.read(bytes.data(), bytes.size(), descriptor_at);
  constexpr std::string_view begin("\1CD001", 6);
  if (std::string_view(bytes.data(), begin.size()) != begin ||
      text_at(bytes, application_at, application_size) != disc_application)
    return std::nullopt;
  return DiscVolume{text_at(bytes, name_at, name_size),
                    number_at(bytes, blocks_at, 4) * number_at(bytes, block_size_at, 2)};
}

bool is_valid_disc_label(std::string_view label) {
  return !label.empty() && label.size() <= name_size &&
         std::ranges::all_of(label, [](char c) { return is_label_character(c) || c == '_'; });
}

std::string new_disc_label(std::string_view image) {
  constexpr unsigned random_digits = 8;
  const auto upper = [](char c) {
    return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  };
  std::string label;
  for (const char c : image.substr(0, name_size - random_digits - 1))
    label += is_label_character(upper(c)) ? upper(c) : '_';
  label += "_";
  for (const char c : random_hex(random_digits)) label += upper(c);
  return label;
}

std::string hash_of_file(const File& file, const Progress& progress) {
  gnutls_hash_hd_t handle = nullptr;
  if (::gnutls_hash_init(&handle, GNUTLS_DIG_SHA256) != 0) throw Error(ENOMEM, "cannot hash");
  std::array<unsigned char, 32> sum{};
  // Also when a read throws.
  const auto end = [&sum](gnutls_hash_hd_t hash) { ::gnutls_hash_deinit(hash, sum.data()); };
  std::unique_ptr<hash_hd_st, decltype(end)> hash(handle, end);
  std::vector<std::byte> piece(1 << 20);
  const std::uint64_t size = file.size();
  for (std::uint64_t at = 0; at < size;) {
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - at));
    file.read(piece.data(), length, at);
    ::gnutls_hash(handle, piece.data(), length);
    at += length;
    progress(at, size);
  }
  hash.reset();
  return to_hex(sum);
}

}  // namespace plydisk
