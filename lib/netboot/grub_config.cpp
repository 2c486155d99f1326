#include "netboot/grub_config.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace plydisk {

namespace {

struct Word {
  std::string text;
  bool has_variable = false;
};

// Reads a GRUB script, command by command. What it can't make sense of, it reads as words.
class GrubScript {
 public:
  explicit GrubScript(std::string_view text) : text_(text) {}

  // The words of the next command; nothing at the end.
  std::optional<std::vector<Word>> next() {
    std::vector<Word> words;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n' || c == ';') {
        ++at_;
        if (!words.empty()) return words;
      } else if (is_space(c)) {
        ++at_;
      } else if (text_.substr(at_).starts_with("\\\n")) {
        at_ += 2;
      } else if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        words.push_back(word());
        if (begins_commands(words.back().text)) words.clear();
      }
    }
    if (words.empty()) return std::nullopt;
    return words;
  }

 private:
  static bool begins_commands(const std::string& word) {
    static constexpr std::array words{"{", "}", "then", "else", "do"};
    return std::ranges::find(words, word) != words.end();
  }

  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

  Word word() {
    Word word;
    char quote = 0;  // that this place is in
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote == 0 && (is_space(c) || c == '\n' || c == ';')) break;
      if (c == '\\' && quote != '\'' && at_ + 1 < text_.size()) {
        const char escaped = text_[++at_];
        if (escaped != '\n') word.text += escaped;
      } else if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      } else {
        if (c == '$' && quote != '\'') word.has_variable = true;
        word.text += c;
      }
    }
    return word;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool is_for_recovery(const std::vector<Word>& words) {
  static constexpr std::array marks{"single",    "recovery", "rescue",
                                    "emergency", "1",        "systemd.unit=rescue.target"};
  return std::ranges::any_of(
      words, [](const Word& word) { return std::ranges::find(marks, word.text) != marks.end(); });
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// Whether it names a device by what it is called where it was installed.
bool is_local_device(std::string_view root) {
  static constexpr std::array prefixes{"sd", "hd", "vd", "xvd", "nvme", "mmcblk"};
  constexpr std::string_view folder = "/dev/";
  return root.starts_with(folder) && std::ranges::any_of(prefixes, [&](std::string_view prefix) {
           return root.substr(folder.size()).starts_with(prefix);
         });
}

// Whether the firmware's script passes it on as one word, and as nothing else.
bool is_harmless(std::string_view word) {
  return !word.empty() && word != "||" && word != "&&" && word != ";" && word.front() != '#' &&
         std::ranges::all_of(word, [](char c) { return c > ' ' && c < 0x7f && c != '$'; });
}

// What that script says itself, and what the boot loader said.
bool is_given_otherwise(std::string_view word) {
  static constexpr std::array prefixes{"ip=",      "BOOTIF=", "plydisk=",   "plydisk.",
                                       "nbdroot=", "initrd=", "BOOT_IMAGE="};
  return std::ranges::any_of(prefixes,
                             [&](std::string_view prefix) { return word.starts_with(prefix); });
}

}  // namespace

std::optional<std::vector<std::string>> grub_arguments(std::string_view config,
                                                       const std::string& kernel) {
  GrubScript script(config);
  while (const auto command = script.next()) {
    const auto& words = *command;
    const std::string& name = words.front().text;
    if ((name != "linux" && name != "linux16" && name != "linuxefi") || words.size() < 2 ||
        file_name(words[1].text) != kernel)
      continue;
    const std::vector<Word> arguments(words.begin() + 2, words.end());
    if (is_for_recovery(arguments)) continue;
    std::vector<std::string> texts;
    for (const Word& word : arguments)
      if (!word.has_variable) texts.push_back(word.text);
    return texts;
  }
  return std::nullopt;
}

std::string netboot_arguments(const std::vector<std::string>& words, const std::string& root_uuid) {
  constexpr std::size_t most = 1500;  // bytes; Linux takes 2047, some of which others need
  constexpr std::string_view root = "root=";
  std::string line;
  bool has_root = false;
  const auto add = [&](const std::string& word) { line += (line.empty() ? "" : " ") + word; };
  for (const std::string& word : words) {
    if (!is_harmless(word) || is_given_otherwise(word)) continue;
    if (!word.starts_with(root)) {
      add(word);
      continue;
    }
    has_root = true;
    const bool is_elsewhere = is_local_device(std::string_view(word).substr(root.size()));
    add(is_elsewhere && !root_uuid.empty() ? "root=UUID=" + root_uuid : word);
  }
  if (!has_root) {
    if (root_uuid.empty())
      throw Error(
          ENOEXEC,
          "no file system on it that can be read is a root, and its boot loader names none");
    line = "root=UUID=" + root_uuid + (line.empty() ? " ro" : " " + line);
  }
  if (line.size() > most)
    throw Error(E2BIG, "its boot loader gives the kernel more arguments than fit");
  return line;
}

}  // namespace plydisk
