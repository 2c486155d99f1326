// No exception may cross into libfuse: every operation runs inside guarded(), which also says what
// is noted as refused: what was to change something or to read an open file, and what failed though
// it is there.
#include "operations.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "filesystem.hpp"

namespace plydisk {

namespace {

Filesystem& filesystem() { return *static_cast<Filesystem*>(fuse_get_context()->private_data); }

OpenFile& file_of(const fuse_file_info* info) { return *reinterpret_cast<OpenFile*>(info->fh); }

enum class Intent { look, use };

// What every program tries now and then, to see whether something is there.
bool is_ordinary(Intent intent, int code) {
  return intent == Intent::look && (code == ENOENT || code == ENXIO || code == EACCES);
}

template <typename Fn>
int guarded(const char* path, Intent intent, Fn&& fn) noexcept {
  try {
    try {
      return fn(filesystem());
    } catch (const Error& error) {
      const int code = error.code() == 0 ? EIO : error.code();
      if (!is_ordinary(intent, code)) filesystem().report(path, error.what());
      // What programs take for "there is no such call" means that the server has no such method.
      return code == ENOSYS ? -EOPNOTSUPP : -code;
    } catch (const std::bad_alloc&) {
      return -ENOMEM;
    } catch (const std::exception& error) {
      filesystem().report(path, error.what());
      return -EIO;
    }
  } catch (...) {
    return -ENOMEM;
  }
}

int get_attributes(const char* path, struct stat* info, fuse_file_info*) {
  return guarded(path, Intent::look, [&](Filesystem& fs) {
    *info = fs.attributes(path);
    return 0;
  });
}

int read_link(const char* path, char* buffer, std::size_t size) {
  return guarded(path, Intent::look, [&](Filesystem& fs) {
    const std::string target = fs.read_link(path);
    std::snprintf(buffer, size, "%s", target.c_str());
    return 0;
  });
}

int make_folder(const char* path, mode_t) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    fs.make_folder(path);
    return 0;
  });
}

int remove_file(const char* path) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    fs.remove_file(path);
    return 0;
  });
}

int remove_folder(const char* path) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    fs.remove_folder(path);
    return 0;
  });
}

int rename_path(const char* from, const char* to, unsigned flags) {
  return guarded(to, Intent::use, [&](Filesystem& fs) {
    if ((flags & ~1U) != 0) throw Error(EINVAL, "files can't be exchanged here");
    fs.rename(from, to, flags == 0);
    return 0;
  });
}

int set_mode(const char* path, mode_t mode, fuse_file_info*) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    fs.set_mode(path, mode);
    return 0;
  });
}

int set_owner(const char* path, uid_t uid, gid_t gid, fuse_file_info*) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    fs.set_owner(path, uid, gid);
    return 0;
  });
}

int truncate_file(const char* path, off_t length, fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    if (info != nullptr)
      file_of(info).truncate(static_cast<std::uint64_t>(length));
    else
      fs.truncate(path, static_cast<std::uint64_t>(length));
    return 0;
  });
}

void keep(fuse_file_info* info, std::unique_ptr<OpenFile> file, bool is_cached) {
  info->fh = reinterpret_cast<std::uint64_t>(file.release());
  info->direct_io = is_cached ? 0 : 1;
}

int open_file(const char* path, fuse_file_info* info) {
  const Intent intent = (info->flags & O_ACCMODE) == O_RDONLY ? Intent::look : Intent::use;
  return guarded(path, intent, [&](Filesystem& fs) {
    bool is_cached = false;
    auto file = fs.open(path, info->flags, is_cached);
    keep(info, std::move(file), is_cached);
    return 0;
  });
}

int create_file(const char* path, mode_t mode, fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    keep(info, fs.create(path, mode, info->flags), false);
    return 0;
  });
}

int read_file(const char* path, char* buffer, std::size_t size, off_t offset,
              fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem&) {
    return static_cast<int>(file_of(info).read(buffer, size, static_cast<std::uint64_t>(offset)));
  });
}

int write_file(const char* path, const char* data, std::size_t size, off_t offset,
               fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem&) {
    file_of(info).write(data, size, static_cast<std::uint64_t>(offset),
                        (info->flags & O_APPEND) != 0);
    return static_cast<int>(size);
  });
}

int flush_file(const char* path, fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem&) {
    file_of(info).flush();
    return 0;
  });
}

int sync_file(const char* path, int, fuse_file_info* info) { return flush_file(path, info); }

int release_file(const char* path, fuse_file_info* info) {
  return guarded(path, Intent::use, [&](Filesystem&) {
    const std::unique_ptr<OpenFile> file(&file_of(info));
    file->close();
    return 0;
  });
}

int list_folder(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
                fuse_readdir_flags) {
  return guarded(path, Intent::look, [&](Filesystem& fs) {
    for (const char* name : {".", ".."}) fill(buffer, name, nullptr, 0, fuse_fill_dir_flags{});
    fs.list(path, [&](const std::string& name, const struct stat& info) {
      fill(buffer, name.c_str(), &info, 0,
           info.st_nlink == 0 ? fuse_fill_dir_flags{} : FUSE_FILL_DIR_PLUS);
    });
    return 0;
  });
}

int set_times(const char* path, const timespec times[2], fuse_file_info*) {
  return guarded(path, Intent::use, [&](Filesystem& fs) {
    if (times[1].tv_nsec == UTIME_OMIT) return 0;
    fs.set_time(path, times[1].tv_nsec == UTIME_NOW ? std::time(nullptr) : times[1].tv_sec);
    return 0;
  });
}

off_t seek_file(const char* path, off_t offset, int whence, fuse_file_info* info) {
  std::uint64_t found = 0;
  const int result = guarded(path, Intent::look, [&](Filesystem&) {
    OpenFile& file = file_of(info);
    const auto from = static_cast<std::uint64_t>(offset);
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
      throw Error(EINVAL, "only data and holes are sought here");
    found = whence == SEEK_DATA ? file.next_data(from) : file.next_hole(from);
    return 0;
  });
  return result == 0 ? static_cast<off_t>(found) : result;
}

int describe_filesystem(const char*, struct statvfs* info) {
  std::memset(info, 0, sizeof *info);
  info->f_bsize = info->f_frsize = 4096;
  info->f_namemax = 255;
  return 0;
}

void* set_up(fuse_conn_info*, fuse_config* config) {
  // Nothing is kept: others change the store, too, and the server says in no time whether they did.
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  config->hard_remove = 1;
  return fuse_get_context()->private_data;
}

}  // namespace

fuse_operations mount_operations() {
  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.readlink = read_link;
  operations.mkdir = make_folder;
  operations.unlink = remove_file;
  operations.rmdir = remove_folder;
  operations.rename = rename_path;
  operations.chmod = set_mode;
  operations.chown = set_owner;
  operations.truncate = truncate_file;
  operations.open = open_file;
  operations.create = create_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.flush = flush_file;
  operations.fsync = sync_file;
  operations.release = release_file;
  operations.readdir = list_folder;
  operations.utimens = set_times;
  operations.lseek = seek_file;
  operations.statfs = describe_filesystem;
  operations.init = set_up;
  return operations;
}

}  // namespace plydisk
