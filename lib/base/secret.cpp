#include "base/secret.hpp"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <array>
#include <charconv>
#include <cstdint>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/hex.hpp"
#include "base/uuid.hpp"

namespace plydisk {

namespace {

constexpr std::string_view scheme = "pbkdf2-sha256";
constexpr unsigned rounds = 50'000;  // some 30 ms
constexpr unsigned most_rounds =
    1'000'000;  // that a station does for whoever it takes for its server
constexpr std::size_t longest_secret = 1024;
using Bytes = std::array<unsigned char, 32>;  // a salt, a key, or a MAC

void require_done(int result, const char* doing) {
  if (result < 0) throw Error(EIO, std::string(doing) + ": " + gnutls_strerror(result));
}

// False if it is not exactly that many bytes.
bool from_hex(std::string_view text, Bytes& bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char* const end = text.data() + 2 * i + 2;
    if (std::from_chars(end - 2, end, bytes[i], 16).ptr != end) return false;
  }
  return true;
}

struct Recipe {
  unsigned rounds = 0;
  Bytes salt{};
};

std::string to_string(const Recipe& recipe) {
  return std::string(scheme) + ":" + std::to_string(recipe.rounds) + ":" + to_hex(recipe.salt);
}

Recipe parse_recipe(std::string_view text) {
  Recipe recipe;
  const auto colon = text.rfind(':');
  const auto number = scheme.size() + 1;
  const bool is_whole =
      text.starts_with(std::string(scheme) + ":") && colon != text.npos && colon > number &&
      std::from_chars(text.data() + number, text.data() + colon, recipe.rounds).ptr ==
          text.data() + colon &&
      recipe.rounds >= rounds && recipe.rounds <= most_rounds &&
      from_hex(text.substr(colon + 1), recipe.salt);
  if (!is_whole)
    throw Error(EPROTO, "the server asks for the secret in a way that is not known here");
  return recipe;
}

Bytes make_key(std::string_view secret, const Recipe& recipe) {
  const auto datum = [](const void* data, std::size_t length) {
    return gnutls_datum_t{static_cast<unsigned char*>(const_cast<void*>(data)),
                          static_cast<unsigned>(length)};
  };
  const auto password = datum(secret.data(), secret.size());
  const auto salt = datum(recipe.salt.data(), recipe.salt.size());
  Bytes key{};
  require_done(
      gnutls_pbkdf2(GNUTLS_MAC_SHA256, &password, &salt, recipe.rounds, key.data(), key.size()),
      "cannot derive a key");
  return key;
}

std::string_view text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Bytes authenticate(std::string_view key, std::string_view message) {
  Bytes mac{};
  require_done(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key.data(), key.size(), message.data(),
                                message.size(), mac.data()),
               "cannot authenticate");
  return mac;
}

}  // namespace

void require_valid_secret(std::string_view secret) {
  if (secret.empty()) throw Error(EINVAL, "the secret is empty");
  if (secret.size() > longest_secret)
    throw Error(EINVAL,
                "a secret has at most 1024 bytes, and this one " + std::to_string(secret.size()));
}

std::string read_secret(const std::filesystem::path& file) {
  const std::string secret = read_text_file(file);
  try {
    require_valid_secret(secret);
  } catch (const Error& error) {
    throw Error(error.code(), file.string() + ": " + error.what());
  }
  return secret;
}

std::string session_token(std::string_view secret) {
  std::string id = boot_id();
  std::erase(id, '-');
  return secret.empty() ? id : to_hex(authenticate(secret, id)).substr(0, id.size());
}

std::string derive_key(std::string_view secret) {
  Recipe recipe{rounds, {}};
  require_done(gnutls_rnd(GNUTLS_RND_NONCE, recipe.salt.data(), recipe.salt.size()),
               "cannot make a salt");
  return to_string(recipe) + ":" + to_hex(make_key(secret, recipe));
}

std::string key_recipe(const std::string& kept) { return kept.substr(0, kept.rfind(':')); }

std::string prove(std::string_view secret, const std::string& recipe, std::string_view message) {
  return to_hex(authenticate(text_of(make_key(secret, parse_recipe(recipe))), message));
}

bool is_proven(const std::string& kept, std::string_view message, std::string_view proof) {
  Bytes key{}, given{};
  if (!from_hex(std::string_view(kept).substr(kept.rfind(':') + 1), key))
    throw Error(EUCLEAN, "what is kept of a secret is damaged");
  if (!from_hex(proof, given)) return false;
  const Bytes expected = authenticate(text_of(key), message);
  return gnutls_memcmp(expected.data(), given.data(), expected.size()) == 0;
}

}  // namespace plydisk
