#include <doctest/doctest.h>

#include <fstream>
#include <string>

#include "base/error.hpp"
#include "base/secret.hpp"
#include "temporary_directory.hpp"

using namespace plydisk;

TEST_CASE("who has the secret proves it for one message, and nobody else does") {
  const std::string kept = derive_key("correct horse");
  const std::string recipe = key_recipe(kept);
  const std::string proof = prove("correct horse", recipe, "nonce 1");
  CHECK(is_proven(kept, "nonce 1", proof));
  CHECK_FALSE(is_proven(kept, "nonce 2", proof));
  CHECK_FALSE(is_proven(kept, "nonce 1", prove("correct horsf", recipe, "nonce 1")));
  CHECK_FALSE(is_proven(derive_key("correct horse"), "nonce 1", proof));  // another salt
  for (std::string wrong : {std::string(), std::string("00"), proof.substr(1), proof + "0",
                            std::string(64, 'x'), std::string(64, '0')})
    CHECK_FALSE(is_proven(kept, "nonce 1", wrong));
}

TEST_CASE("neither the recipe nor the proof holds the key or the secret") {
  const std::string kept = derive_key("correct horse");
  const std::string key = kept.substr(kept.rfind(':') + 1);
  CHECK(key.size() == 64);
  CHECK(key_recipe(kept).find(key) == std::string::npos);
  CHECK(prove("correct horse", key_recipe(kept), "m").find(key) == std::string::npos);
  CHECK(kept.find("correct") == std::string::npos);
}

TEST_CASE("a recipe that can't be followed, or would take for ever, is refused") {
  const std::string salt(64, 'a');
  CHECK_NOTHROW(prove("s", "pbkdf2-sha256:50000:" + salt, "m"));
  for (const std::string& recipe :
       {std::string(), std::string("plain"), "pbkdf2-sha256:0:" + salt,
        "pbkdf2-sha256:49999:" + salt, "pbkdf2-sha256:1000001:" + salt,
        "pbkdf2-sha256:99999999999999999999:" + salt, "pbkdf2-sha256:-1:" + salt,
        "pbkdf2-sha256::" + salt, "pbkdf2-sha1:50000:" + salt,
        "pbkdf2-sha256:50000:" + salt.substr(2), "pbkdf2-sha256:50000:" + salt + "aa",
        "pbkdf2-sha256:50000x:" + salt, "pbkdf2-sha256:" + salt})
    CHECK_THROWS_AS(prove("s", recipe, "m"), Error);
}

TEST_CASE("a secret is the text of its file, without the line's end") {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "secret";
  std::ofstream(file) << " s e \n";
  CHECK(read_secret(file) == " s e ");
  std::ofstream(file) << "\n";
  CHECK_THROWS_AS(read_secret(file), Error);
  std::ofstream(file) << std::string(1025, 'x');
  CHECK_THROWS_AS(read_secret(file), Error);
  CHECK_THROWS_AS(read_secret(directory.path() / "none"), Error);
}

TEST_CASE("a session's token is the same until the next boot, and the secret's own") {
  CHECK(session_token("a") == session_token("a"));
  CHECK(session_token("a") != session_token("b"));
  CHECK(session_token("a").size() == session_token("").size());
}
