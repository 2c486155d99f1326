// An SQLite VFS over the default one that reports what SQLite does to durable storage to
// storage_observer: creations, writes, truncations, syncs and removals of databases, rollback
// journals and write-ahead logs, and the syncs of their directories, where the unix VFS makes them:
// with the first sync of a journal or log, and with a removal that asks for it.
//
// The -shm file is not reported: it is not meant to outlive a power cut. Temporary files likewise.
#pragma once

namespace plydisk::torture {

// Makes it the default VFS of the process. Before any database is opened. With no observer set it
// passes everything through.
void register_recording_vfs();

}  // namespace plydisk::torture
