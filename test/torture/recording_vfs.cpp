#include "recording_vfs.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <new>
#include <stdexcept>
#include <string>

#include "base/file.hpp"

namespace plydisk::torture {

namespace {

sqlite3_vfs* real_vfs() { return static_cast<sqlite3_vfs*>(sqlite3_vfs_find("unix")); }

struct RecordedFile {
  sqlite3_file base;  // SQLite sees this part
  std::string* path;  // null: not recorded
  bool sync_directory;
  sqlite3_file* real;  // lies behind this structure
};

RecordedFile* self(sqlite3_file* file) { return reinterpret_cast<RecordedFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return self(file)->real; }

StorageObserver* observer() { return storage_observer.load(std::memory_order_acquire); }

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

int file_close(sqlite3_file* file) {
  const int code = real(file)->pMethods->xClose(real(file));
  delete self(file)->path;
  self(file)->path = nullptr;
  return code;
}

int file_read(sqlite3_file* file, void* buffer, int amount, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), buffer, amount, offset);
}

int file_write(sqlite3_file* file, const void* buffer, int amount, sqlite3_int64 offset) {
  auto* const watch = observer();
  if (watch != nullptr && self(file)->path != nullptr)
    watch->on_write(*self(file)->path, static_cast<std::uint64_t>(offset),
                    {static_cast<const std::byte*>(buffer), static_cast<std::size_t>(amount)});
  return real(file)->pMethods->xWrite(real(file), buffer, amount, offset);
}

int file_truncate(sqlite3_file* file, sqlite3_int64 size) {
  auto* const watch = observer();
  if (watch != nullptr && self(file)->path != nullptr)
    watch->on_truncate(*self(file)->path, static_cast<std::uint64_t>(size));
  return real(file)->pMethods->xTruncate(real(file), size);
}

// Only reported: no power is really cut, and the syncs would take most of the time.
int file_sync(sqlite3_file* file, int) {
  auto* const watch = observer();
  const std::string* const path = self(file)->path;
  if (watch == nullptr || path == nullptr || watch->skip_sync(*path)) return SQLITE_OK;
  watch->on_sync(*path);
  if (self(file)->sync_directory) {
    const std::string directory = directory_of(*path);
    if (!watch->skip_sync(directory)) watch->on_sync_directory(directory);
    self(file)->sync_directory = false;
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}

int file_lock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}

int file_unlock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}

int file_check_reserved_lock(sqlite3_file* file, int* result) {
  return real(file)->pMethods->xCheckReservedLock(real(file), result);
}

int file_control(sqlite3_file* file, int operation, void* argument) {
  // A hint lets the unix VFS change the size of the file without xTruncate or xWrite.
  if (operation == SQLITE_FCNTL_SIZE_HINT || operation == SQLITE_FCNTL_CHUNK_SIZE)
    return SQLITE_NOTFOUND;
  return real(file)->pMethods->xFileControl(real(file), operation, argument);
}

int file_sector_size(sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); }

int file_characteristics(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

int file_shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** address) {
  return real(file)->pMethods->xShmMap(real(file), page, size, extend, address);
}

int file_shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}

void file_shm_barrier(sqlite3_file* file) { real(file)->pMethods->xShmBarrier(real(file)); }

int file_shm_unmap(sqlite3_file* file, int remove) {
  return real(file)->pMethods->xShmUnmap(real(file), remove);
}

// Version 2: no memory-mapped pages, so that nothing goes past xWrite.
const sqlite3_io_methods methods{2,
                                 file_close,
                                 file_read,
                                 file_write,
                                 file_truncate,
                                 file_sync,
                                 file_size,
                                 file_lock,
                                 file_unlock,
                                 file_check_reserved_lock,
                                 file_control,
                                 file_sector_size,
                                 file_characteristics,
                                 file_shm_map,
                                 file_shm_lock,
                                 file_shm_barrier,
                                 file_shm_unmap,
                                 nullptr,
                                 nullptr};

constexpr int journal_types =
    SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
constexpr int recorded_types = journal_types | SQLITE_OPEN_MAIN_DB;

int vfs_open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* const recorded = new (file) RecordedFile{};
  recorded->real = reinterpret_cast<sqlite3_file*>(recorded + 1);
  auto* const watch = observer();
  const bool report = watch != nullptr && name != nullptr && (flags & recorded_types) != 0;
  const bool existed = !report || ::access(name, F_OK) == 0;
  const int code = real_vfs()->xOpen(real_vfs(), name, recorded->real, flags, out_flags);
  // A file without methods is one that SQLite does not close.
  if (code != SQLITE_OK) {
    if (recorded->real->pMethods != nullptr) recorded->real->pMethods->xClose(recorded->real);
    return code;
  }
  recorded->base.pMethods = &methods;
  if (!report) return code;
  recorded->path = new std::string(name);
  recorded->sync_directory = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & journal_types) != 0;
  if (!existed) watch->on_create(*recorded->path);
  return code;
}

int vfs_delete(sqlite3_vfs*, const char* name, int sync_directory) {
  auto* const watch = observer();
  const bool report = watch != nullptr && ::access(name, F_OK) == 0;
  if (report) watch->on_remove(name);
  const int code = real_vfs()->xDelete(real_vfs(), name, sync_directory);
  if (report && code == SQLITE_OK && (sync_directory & 1) != 0) {
    const std::string directory = directory_of(name);
    if (!watch->skip_sync(directory)) watch->on_sync_directory(directory);
  }
  return code;
}

int vfs_access(sqlite3_vfs*, const char* name, int flags, int* result) {
  return real_vfs()->xAccess(real_vfs(), name, flags, result);
}

int vfs_full_pathname(sqlite3_vfs*, const char* name, int size, char* out) {
  return real_vfs()->xFullPathname(real_vfs(), name, size, out);
}

void* vfs_dlopen(sqlite3_vfs*, const char* name) { return real_vfs()->xDlOpen(real_vfs(), name); }

void vfs_dlerror(sqlite3_vfs*, int size, char* message) {
  real_vfs()->xDlError(real_vfs(), size, message);
}

void (*vfs_dlsym(sqlite3_vfs*, void* library, const char* symbol))() {
  return real_vfs()->xDlSym(real_vfs(), library, symbol);
}

void vfs_dlclose(sqlite3_vfs*, void* library) { real_vfs()->xDlClose(real_vfs(), library); }

int vfs_randomness(sqlite3_vfs*, int size, char* out) {
  return real_vfs()->xRandomness(real_vfs(), size, out);
}

int vfs_sleep(sqlite3_vfs*, int microseconds) {
  return real_vfs()->xSleep(real_vfs(), microseconds);
}

int vfs_current_time(sqlite3_vfs*, double* now) {
  return real_vfs()->xCurrentTime(real_vfs(), now);
}

int vfs_last_error(sqlite3_vfs*, int size, char* message) {
  return real_vfs()->xGetLastError(real_vfs(), size, message);
}

}  // namespace

void register_recording_vfs() {
  static sqlite3_vfs vfs{};
  if (vfs.zName != nullptr) return;
  if (real_vfs() == nullptr) throw std::runtime_error("SQLite has no VFS named unix");
  vfs.iVersion = 1;
  vfs.szOsFile = static_cast<int>(sizeof(RecordedFile)) + real_vfs()->szOsFile;
  vfs.mxPathname = real_vfs()->mxPathname;
  vfs.zName = "plydisk-recording";
  vfs.xOpen = vfs_open;
  vfs.xDelete = vfs_delete;
  vfs.xAccess = vfs_access;
  vfs.xFullPathname = vfs_full_pathname;
  vfs.xDlOpen = vfs_dlopen;
  vfs.xDlError = vfs_dlerror;
  vfs.xDlSym = vfs_dlsym;
  vfs.xDlClose = vfs_dlclose;
  vfs.xRandomness = vfs_randomness;
  vfs.xSleep = vfs_sleep;
  vfs.xCurrentTime = vfs_current_time;
  vfs.xGetLastError = vfs_last_error;
  if (sqlite3_vfs_register(&vfs, 1) != SQLITE_OK)
    throw std::runtime_error("SQLite refuses the recording VFS");
}

}  // namespace plydisk::torture
