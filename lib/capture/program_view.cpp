#include "capture/program_view.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/error.hpp"

namespace plydisk {

LoopDevice::LoopDevice(const std::string& path, Range range, bool is_read_only) {
  const int mode = is_read_only ? O_RDONLY : O_RDWR;
  const File file = File::open(path, mode);
  const File control = File::open("/dev/loop-control", O_RDWR);
  // Others look for a free one as well.
  for (int tries = 0; tries < 64; ++tries) {
    const int number = ::ioctl(control.fd(), LOOP_CTL_GET_FREE);
    if (number < 0) throw_errno("cannot get a loop device");
    device_ = File::open("/dev/loop" + std::to_string(number), mode);
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(file.fd());
    config.info.lo_offset = range.begin;
    config.info.lo_sizelimit = range.length();
    config.info.lo_flags =
        LO_FLAGS_AUTOCLEAR | (is_read_only ? std::uint32_t{LO_FLAGS_READ_ONLY} : 0U);
    if (::ioctl(device_.fd(), LOOP_CONFIGURE, &config) == 0) return;
    if (errno != EBUSY) throw_errno("cannot make a loop device of " + path);
  }
  throw Error(EBUSY, "cannot get a loop device: others take them all");
}

NbdFile::NbdFile(const std::string& uri) {
  const char* const temporary = std::getenv("TMPDIR");
  std::string folder = std::string(temporary != nullptr && *temporary != '\0' ? temporary : "/tmp");
  folder += "/plydisk-nbd.XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) throw_errno("cannot make a folder in " + folder);
  folder_ = folder;
  const std::string file = path(), pid_file = folder + ".pid";
  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ == 0) {
    // Unmounts at the end of this process, however that comes.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int null = ::open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) ::dup2(null, fd);
    if (::getppid() == parent)
      ::execlp("nbdfuse", "nbdfuse", "--readonly", "--pidfile", pid_file.c_str(), file.c_str(),
               uri.c_str(), nullptr);
    ::_exit(127);
  }
  if (process_ < 0) throw_errno("cannot start nbdfuse");
  constexpr auto between_looks = std::chrono::milliseconds(10);
  constexpr int most_looks = 1000;
  for (int look = 0; look < most_looks; ++look) {
    std::error_code ignored;
    if (std::filesystem::file_size(pid_file, ignored) > 0 && !ignored) {
      std::filesystem::remove(pid_file, ignored);
      return;
    }
    int status = 0;
    if (::waitpid(process_, &status, WNOHANG) == process_) {
      process_ = -1;
      end();
      if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        throw Error(ENOENT, "nbdfuse is missing; install with: apt install libnbd-bin");
      throw Error(EIO, "nbdfuse can't show " + uri + " as a file");
    }
    std::this_thread::sleep_for(between_looks);
  }
  end();
  throw Error(ETIMEDOUT, "nbdfuse does not show " + uri + " as a file");
}

NbdFile::~NbdFile() { end(); }

void NbdFile::end() noexcept {
  if (process_ > 0) {
    ::kill(process_, SIGTERM);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
    process_ = -1;
  }
  std::error_code ignored;
  std::filesystem::remove(folder_.string() + ".pid", ignored);
  std::filesystem::remove(folder_, ignored);
}

}  // namespace plydisk
