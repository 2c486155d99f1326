// `plydiskfs`: mounts a store's administration.
//
// Exit codes: 0 it is mounted (with -f: it was unmounted), 1 an error, 2 the command line is wrong.
#include <signal.h>
#include <syslog.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "filesystem.hpp"
#include "mount_options.hpp"
#include "operations.hpp"

namespace {

using namespace plydisk;

// Calls that last, as redirections may, must not keep others waiting for a thread.
constexpr unsigned most_threads = 200, idle_threads = 10;
constexpr std::chrono::milliseconds linger{150}, patience{1500};

StoreCaller::Options caller_options(const MountOptions& options) {
  StoreCaller::Options caller;
  caller.refuse_station = true;
  if (options.server_only)
    caller.server_only = "no server listens on " + options.store +
                         "/control: start it, or name the store's folder instead";
  return caller;
}

void require_mountpoint(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error))
    throw Error(error ? error.value() : ENOTDIR,
                path +
                    (std::filesystem::exists(path, error) ? " is not a folder"
                                                          : " does not exist: make the folder") +
                    " to mount on");
}

struct Unmounter {
  void operator()(fuse* mounted) const {
    fuse_unmount(mounted);
    fuse_destroy(mounted);
  }
};

class Arguments {
 public:
  explicit Arguments(const MountOptions& options) {
    add("plydiskfs");
    add("-odefault_permissions,subtype=plydiskfs,fsname=" + escaped(options.store));
    for (const std::string& option : options.for_fuse) add("-o" + option);
  }
  ~Arguments() { fuse_opt_free_args(&arguments_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  fuse_args* get() { return &arguments_; }

 private:
  void add(const std::string& word) {
    if (fuse_opt_add_arg(&arguments_, word.c_str()) != 0) throw std::bad_alloc();
  }
  static std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
      if (c == ',' || c == '\\') result += '\\';
      result += c;
    }
    return result;
  }

  fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
};

int serve(fuse* mounted) {
  fuse_loop_config* const config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, most_threads);
  fuse_loop_cfg_set_idle_threads(config, idle_threads);
  const int result = fuse_loop_mt(mounted, config);
  fuse_loop_cfg_destroy(config);
  // A signal that ends the mount is no failure.
  return result < 0 ? 1 : 0;
}

int run(const MountOptions& options) {
  require_mountpoint(options.mountpoint);
  // What is wrong with the store is told here, where it is seen.
  StoreCaller(options.store, caller_options(options)).call("changes", nlohmann::json::object());

  StoreCaller::Options caller_settings = caller_options(options);
  caller_settings.linger = linger;
  caller_settings.patience = patience;
  caller_settings.is_pointless = [] { return fuse_interrupted() != 0; };
  StoreCaller caller(options.store, caller_settings);
  const bool foreground = options.foreground;
  Filesystem filesystem(caller, options.access, [foreground](const std::string& sentence) {
    if (foreground)
      std::cerr << "plydiskfs: " + sentence + "\n" << std::flush;
    else
      ::syslog(LOG_WARNING, "%s", sentence.c_str());
  });

  Arguments arguments(options);
  const fuse_operations operations = mount_operations();
  fuse* const made = fuse_new(arguments.get(), &operations, sizeof operations, &filesystem);
  if (made == nullptr) throw Error(EINVAL, "libfuse takes these options not");
  if (fuse_mount(made, options.mountpoint.c_str()) != 0) {
    fuse_destroy(made);
    throw Error(
        EIO, "cannot mount on " + options.mountpoint + ": what libfuse says about it stands above");
  }
  const std::unique_ptr<fuse, Unmounter> mounted(made);
  // Nothing that does not outlive a fork was made before.
  if (fuse_daemonize(foreground ? 1 : 0) != 0) throw_errno("cannot go into the background");
  if (fuse_set_signal_handlers(fuse_get_session(made)) != 0)
    throw Error(EIO, "cannot handle signals");
  ::openlog("plydiskfs", LOG_PID, LOG_DAEMON);
  const int result = serve(made);
  fuse_remove_signal_handlers(fuse_get_session(made));
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  try {
    const MountRequest request = parse_mount_options({argv + 1, argv + argc});
    if (request.help) {
      std::cout << mount_help();
      return 0;
    }
    if (request.version) {
      std::cout << "plydiskfs " PLYDISK_VERSION "\n";
      return 0;
    }
    try {
      return run(request.options);
    } catch (const std::exception& error) {
      std::cerr << "plydiskfs: " << error.what() << "\n";
      return 1;
    }
  } catch (const std::exception& error) {
    std::cerr << "plydiskfs: " << error.what() << "\nTry \"plydiskfs --help\".\n";
    return 2;
  }
}
