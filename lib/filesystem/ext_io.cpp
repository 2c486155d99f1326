#include "filesystem/ext_io.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace plydisk {

namespace {

// libext2fs gives its I/O manager a name and nothing else to open a channel by.
thread_local ExtFileSystem::Medium* medium_to_open = nullptr;

extern "C" {

extern io_manager const ext_io_manager;

static errcode_t ext_open(const char* name, int, io_channel* result) {
  auto* const channel = static_cast<io_channel>(std::calloc(1, sizeof(struct_io_channel)));
  char* const copy = ::strdup(name);
  if (channel == nullptr || copy == nullptr || medium_to_open == nullptr) {
    std::free(channel);
    std::free(copy);
    return EXT2_ET_NO_MEMORY;
  }
  channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel->manager = ext_io_manager;
  channel->name = copy;
  channel->block_size = 1024;
  channel->refcount = 1;
  channel->private_data = medium_to_open;
  *result = channel;
  return 0;
}

static errcode_t ext_close(io_channel channel) {
  if (--channel->refcount > 0) return 0;
  std::free(channel->name);
  std::free(channel);
  return 0;
}

static errcode_t ext_set_blksize(io_channel channel, int size) {
  channel->block_size = size;
  return 0;
}

// A negative count is a number of bytes.
static errcode_t ext_read64(io_channel channel, unsigned long long block, int count, void* data) {
  auto& medium = *static_cast<ExtFileSystem::Medium*>(channel->private_data);
  const auto size = static_cast<std::uint64_t>(channel->block_size);
  const std::uint64_t length = count < 0
                                   ? static_cast<std::uint64_t>(-static_cast<std::int64_t>(count))
                                   : static_cast<std::uint64_t>(count) * size;
  if (block > medium.length / size || block * size + length > medium.length)
    return EXT2_ET_SHORT_READ;
  try {
    medium.read(data, static_cast<std::size_t>(length), medium.begin + block * size);
    return 0;
  } catch (const Error& error) {
    medium.trouble = error.what();
    medium.trouble_code = error.code();
  } catch (const std::exception& error) {
    medium.trouble = error.what();
    medium.trouble_code = EIO;
  }
  return EXT2_ET_SHORT_READ;
}

static errcode_t ext_read(io_channel channel, unsigned long block, int count, void* data) {
  return ext_read64(channel, block, count, data);
}

static errcode_t ext_write64(io_channel, unsigned long long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}

static errcode_t ext_write(io_channel, unsigned long, int, const void*) {
  return EXT2_ET_RO_FILSYS;
}

static errcode_t ext_flush(io_channel) { return 0; }

}  // extern "C"

struct_io_manager make_ext_io_manager() {
  struct_io_manager manager{};
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "plydisk";
  manager.open = ext_open;
  manager.close = ext_close;
  manager.set_blksize = ext_set_blksize;
  manager.read_blk = ext_read;
  manager.read_blk64 = ext_read64;
  manager.write_blk = ext_write;
  manager.write_blk64 = ext_write64;
  manager.flush = ext_flush;
  return manager;
}

struct_io_manager ext_manager = make_ext_io_manager();

extern "C" {
io_manager const ext_io_manager = &ext_manager;
}

// What says that the blocks are no file system that libext2fs can read, rather than a broken one.
bool is_foreign(errcode_t result) {
  return result == EXT2_ET_BAD_MAGIC || result == EXT2_ET_UNSUPP_FEATURE ||
         result == EXT2_ET_RO_UNSUPP_FEATURE || result == EXT2_ET_REV_TOO_HIGH;
}

}  // namespace

ExtFileSystem::ExtFileSystem(Read read, std::uint64_t begin, std::uint64_t length)
    : medium_{std::move(read), begin, length, {}, 0} {
  // For error_message(); once, since the list of tables is the process's.
  static const bool has_messages = (::initialize_ext2_error_table(), true);
  static_cast<void>(has_messages);
  medium_to_open = &medium_;
  const errcode_t result =
      ::ext2fs_open2("disk", nullptr, EXT2_FLAG_64BITS, 0, 0, ext_io_manager, &fs_);
  medium_to_open = nullptr;
  if (result == 0) return;
  fs_ = nullptr;
  require(result, "open the ext4 file system");
}

ExtFileSystem::~ExtFileSystem() {
  if (fs_ != nullptr) ::ext2fs_free(fs_);
}

void ExtFileSystem::require(errcode_t result, const std::string& doing) const {
  if (result == 0) return;
  if (medium_.trouble_code != 0)
    throw Error(medium_.trouble_code, "cannot " + doing + ": " + medium_.trouble);
  throw Error(is_foreign(result) ? EINVAL : EUCLEAN,
              "cannot " + doing + ": " + ::error_message(result));
}

}  // namespace plydisk
