// What two ends that share a secret show each other, so that it never goes over the wire, and is
// not to be found where it is kept: the one that asks keeps a key that is derived from it (PBKDF2),
// gives out how that is done with a nonce, and gets HMAC-SHA-256 of the nonce under that key. By
// GnuTLS. The functions throw Error. Thread safety: all functions from any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace plydisk {

// The secret in a file: its text without the line's end. EINVAL if there is none, or more than 1024
// bytes.
std::string read_secret(const std::filesystem::path& file);
void require_valid_secret(std::string_view secret);

// What is kept of a secret: "pbkdf2-sha256:ROUNDS:SALT:KEY", with a new salt each time.
std::string derive_key(std::string_view secret);
// How the key is derived, for whoever has the secret: "pbkdf2-sha256:ROUNDS:SALT".
std::string key_recipe(const std::string& kept);
// What shows that one has the secret, for this message. EPROTO for a recipe that can't be followed.
std::string prove(std::string_view secret, const std::string& recipe, std::string_view message);
// Whether the proof is of the secret that `kept` was derived from, for this message.
bool is_proven(const std::string& kept, std::string_view message, std::string_view proof);

// The token of a session: the same until this machine is booted again. With a secret, nobody knows
// it who does not know the secret; without, any program on this machine can, as it is the kernel's
// boot id.
std::string session_token(std::string_view secret);

}  // namespace plydisk
