// The files of images, and of their versions.
#include <array>
#include <charconv>
#include <filesystem>

#include "backing/nbd_uri.hpp"
#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "field_text.hpp"
#include "fields.hpp"
#include "store/disk_format.hpp"
#include "store/names.hpp"

namespace plydisk {

using nlohmann::json;

namespace {

using modes::readable, modes::writable;

unsigned number_of(std::string_view text) {
  unsigned number = 0;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || last != end || number == 0)
    throw Error(EINVAL, quote(text) + " is not the number of a version, such as 2");
  return number;
}

std::string name_of(const json& version) {
  return "version " + text_of(version.at("number")) + " of image " +
         quote(version.at("image").get<std::string>());
}

Request of_version(const char* method, const json& version, json params = json::object()) {
  params["image"] = version.at("image");
  params["number"] = version.at("number");
  return {method, std::move(params)};
}

// --- images

std::optional<Request> set_image(const json& image, const char* name, const std::string& text) {
  return Request{"image.set", {{"name", image.at("name")}, {name, null_if_empty(text)}}};
}

std::optional<Request> set_published(const json& image, const char*, const std::string& text) {
  const unsigned number = number_of(text);
  // Publishing takes the version away from those who test it, which writing back must not.
  if (image.at("published") == number) return std::nullopt;
  return Request{"version.publish", {{"image", image.at("name")}, {"number", number}}};
}

std::optional<Request> set_image_state(const json& image, const char*, const std::string& text) {
  if (text == image.at("state")) return std::nullopt;
  if (text != "ok")
    throw Error(EINVAL,
                "the state of an image can only be set to ok, which takes its backing as "
                "it is now, after it was changed from outside");
  return Request{"image.accept", {{"name", image.at("name")}}};
}

// The station that it is open for.
std::string get_open(const json& image, const char*) {
  for (const json& version : image.at("versions"))
    if (version.at("state") == "open") return text_of(version.at("station"));
  return "";
}

std::optional<Request> set_open(const json& image, const char* name, const std::string& text) {
  if (text == get_open(image, name)) return std::nullopt;
  const std::vector<std::string> words = words_of(text);
  const bool has_base = words.size() == 3 && words[1] == "--base";
  if (words.size() != 1 && !has_base)
    throw Error(EINVAL,
                "an image is opened by the name of a station, behind which there may be "
                "--base NUMBER, not by " +
                    quote(text));
  Request request{"version.open", {{"image", image.at("name")}, {"station", words[0]}}};
  if (has_base) request.params["base"] = number_of(words[2]);
  return request;
}

std::optional<Request> set_merge(const json& image, const char*, const std::string& text) {
  const auto dots = text.find("..");
  if (dots == std::string::npos)
    throw Error(EINVAL, "merging needs FIRST..LAST, as in 2..5, not " + quote(text));
  const std::string_view range = text;
  return Request{"version.merge",
                 {{"image", image.at("name")},
                  {"first", number_of(range.substr(0, dots))},
                  {"last", number_of(range.substr(dots + 2))}}};
}

constexpr std::array image_table{
    Field{"allocated", readable, member},
    Field{"backing", readable, member},
    Field{"created", readable, member},
    Field{"description", writable, member, set_image, true, check_text},
    Field{"linked", readable, member},
    command("merge", member, set_merge),
    Field{"open", writable, get_open, set_open},
    Field{"published", writable, member, set_published},
    Field{"sessions", readable, member},
    Field{"size", readable, member},
    Field{"state", writable, member, set_image_state},
    Field{"uuid", readable, member},
    Field{"writes", writable, member, set_image, true},
};

// --- images that are to be made

std::string get_nothing(const json&, const char*) { return ""; }

std::optional<Request> make_empty(const json& image, const char*, const std::string& text) {
  const std::optional<std::uint64_t> size = parse_byte_size(text);
  if (!size)
    throw Error(EINVAL, quote(text) +
                            " is not a size: use a number of bytes, or of K, M, G or T, "
                            "as in 10G");
  return Request{"image.create", {{"name", image.at("name")}, {"size", *size}}};
}

// Its bytes would become the disk. Which program reads them, and as what, is for the command.
void refuse_other_formats(const std::string& name, const std::string& from) {
  if (is_nbd_uri(from)) return;
  const DiskFormat* format = &disk_format_of(from);
  std::error_code is_none;
  // Else it might be one that waits for a writer.
  if (format->is_raw() && std::filesystem::is_regular_file(from, is_none))
    format = format_by_header(from);
  if (format != nullptr && !format->is_raw())
    throw Error(EINVAL, from + " is a " + format->name +
                            " file, by its name or its contents, and only raw disks are copied "
                            "here: use \"plydisk image create " +
                            name + " --from " + from + " --format " + format->name +
                            "\", which converts it");
}

std::optional<Request> make_from(const json& image, const char*, const std::string& text) {
  constexpr std::string_view link = " --link";
  const bool is_linked = text.ends_with(link);
  const std::string name = image.at("name");
  const std::string from = is_linked ? text.substr(0, text.size() - link.size()) : text;
  refuse_other_formats(name, from);
  return Request{"image.create", {{"name", name}, {"from", from}, {"link", is_linked}}};
}

constexpr std::array new_image_table{
    Field{"from", writable, get_nothing, make_from},
    Field{"size", writable, get_nothing, make_empty},
};

// --- versions

std::optional<Request> set_version_state(const json& version, const char*,
                                         const std::string& text) {
  const std::string state = version.at("state");
  if (text == state) return std::nullopt;
  if (text == "published") return of_version("version.publish", version);
  if (text == "frozen" && state == "open") return of_version("version.close", version);
  if (text == "frozen" && state == "published")
    throw Error(EINVAL, name_of(version) +
                            " is published: write the number of another one to published, and "
                            "it is frozen");
  if (text == "frozen")
    throw Error(EINVAL, name_of(version) +
                            " was merged into another one, and goes when its last "
                            "session ends");
  if (text == "open")
    throw Error(EINVAL, name_of(version) +
                            " stays as it is: open a new one that begins as it, with: echo '"
                            "STATION --base " +
                            text_of(version.at("number")) + "' > open");
  if (text == "retired")
    throw Error(EINVAL, name_of(version) +
                            " is retired by merging it into a later one, with: echo "
                            "FIRST..LAST > merge; or remove it with rmdir");
  throw Error(EINVAL, "the state of a version cannot be " + quote(text) +
                          ": use frozen, to close an open one, or published");
}

std::optional<Request> set_comment(const json& version, const char* name, const std::string& text) {
  return of_version("version.set", version, {{name, null_if_empty(text)}});
}

void check_testers(const json& version, const std::string&) {
  if (const std::string state = version.at("state"); state == "open" || state == "retired")
    throw Error(EBUSY, name_of(version) + " is " + state + ", so nobody can test it" +
                           (state == "open" ? ": close it first, with: echo frozen > state" : ""));
}

std::optional<Request> set_testers(const json& version, const char*, const std::string& text) {
  const json stations = words_of(text);
  if (stations == version.at("testers")) return std::nullopt;
  return of_version("version.test", version, {{"stations", stations}});
}

std::optional<Request> set_diff(const json& version, const char*, const std::string& text) {
  return Request{"version.diff",
                 {{"image", version.at("image")},
                  {"before", number_of(text)},
                  {"after", version.at("number")}}};
}

std::optional<Request> set_verify(const json& version, const char* name, const std::string& text) {
  require_now(name, text);
  return of_version("version.verify", version);
}

constexpr std::array version_table{
    Field{"allocated", readable, member},
    Field{"base", readable, member},
    Field{"comment", writable, member, set_comment, true, check_text},
    Field{"created", readable, member},
    command("diff", member, set_diff),
    Field{"layers", readable, lines},
    Field{"size", readable, member},
    Field{"state", writable, member, set_version_state},
    Field{"station", readable, member},
    Field{"testers", writable, lines, set_testers, true, check_testers, false, true},
    command("verify", member, set_verify),
};

}  // namespace

std::span<const Field> image_fields() { return image_table; }
std::span<const Field> new_image_fields() { return new_image_table; }
std::span<const Field> version_fields() { return version_table; }

}  // namespace plydisk
