-- name: schema
-- `chunk.id` is the order of arrival; one chunk holds consecutive sequence numbers of one stream.
CREATE TABLE IF NOT EXISTS stream (
  uuid     TEXT PRIMARY KEY,
  next_seq INTEGER NOT NULL,
  inode    TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS layout (
  id     INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  points TEXT NOT NULL,
  scales TEXT NOT NULL,
  crc    INTEGER NOT NULL,
  UNIQUE (device, points, scales)
) STRICT;
-- Without its layout a chunk is worth nothing: the second copy lies on other pages of the file.
CREATE TABLE IF NOT EXISTS layout_copy (
  id     INTEGER PRIMARY KEY,
  device TEXT NOT NULL,
  points TEXT NOT NULL,
  scales TEXT NOT NULL,
  crc    INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS chunk (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  stream    TEXT NOT NULL,
  first_seq INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  class     INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  done      TEXT,
  payload   BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS chunk_class ON chunk (class, id, count, stored_at);
CREATE INDEX IF NOT EXISTS chunk_partly ON chunk (id) WHERE done IS NOT NULL;
CREATE TABLE IF NOT EXISTS rejected (
  stream      TEXT NOT NULL,
  seq         INTEGER NOT NULL,
  rejected_at INTEGER NOT NULL,
  code        TEXT NOT NULL,
  reason      TEXT NOT NULL,
  content     TEXT NOT NULL,
  PRIMARY KEY (stream, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS damaged (
  stream    TEXT NOT NULL,
  first_seq INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  reason    TEXT NOT NULL,
  payload   BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS cursor (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS note (at INTEGER NOT NULL, text TEXT NOT NULL) STRICT;

-- name: insert_stream
INSERT INTO stream (uuid, next_seq, inode) VALUES (:uuid, 1, :inode);

-- name: newest_stream
SELECT uuid, next_seq, inode FROM stream ORDER BY rowid DESC LIMIT 1;

-- name: set_next_seq
UPDATE stream SET next_seq = :next_seq WHERE uuid = :uuid;

-- name: insert_layout
INSERT INTO layout (device, points, scales, crc) VALUES (:device, :points, :scales, :crc)
    ON CONFLICT (device, points, scales) DO UPDATE SET device = excluded.device RETURNING id;

-- name: copy_layout
INSERT OR REPLACE INTO layout_copy SELECT id, device, points, scales, crc FROM layout WHERE id = :id;

-- name: layouts
-- As bytes: a damaged text must not end the reading of the others.
SELECT id, CAST(device AS BLOB), CAST(points AS BLOB), CAST(scales AS BLOB), crc FROM layout;

-- name: layout_copies
SELECT id, CAST(device AS BLOB), CAST(points AS BLOB), CAST(scales AS BLOB), crc FROM layout_copy;

-- name: drop_layouts_when_empty
-- A layout is referred to by chunks only: with no chunk left the table can start anew.
DELETE FROM layout WHERE NOT EXISTS (SELECT 1 FROM chunk);

-- name: drop_layout_copies_when_empty
DELETE FROM layout_copy WHERE NOT EXISTS (SELECT 1 FROM chunk);

-- name: insert_chunk
INSERT INTO chunk (stream, first_seq, count, class, stored_at, payload)
VALUES (:stream, :first_seq, :count, :class, :stored_at, :payload);

-- name: newest_chunks
SELECT id, stream, first_seq, count, class, done, payload FROM chunk WHERE id > :after ORDER BY id DESC;

-- name: oldest_chunks
SELECT id, stream, first_seq, count, class, done, payload FROM chunk WHERE id > :after ORDER BY id;

-- name: chunks
SELECT id, stream, first_seq, count, class, done, payload FROM chunk
 WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id;

-- name: newest_chunk_id
SELECT coalesce(max(id), 0) FROM chunk;

-- name: totals
-- Answered from the index alone: start-up must not read half a gigabyte of payloads.
SELECT class, sum(count), count(*), min(stored_at) FROM chunk GROUP BY class;

-- name: oldest_stored_at
SELECT stored_at FROM chunk ORDER BY id LIMIT 1;

-- name: partly_settled
SELECT class, done FROM chunk WHERE done IS NOT NULL;

-- name: delete_chunks
DELETE FROM chunk WHERE id IN (SELECT value FROM json_each(:ids));

-- name: set_done
UPDATE chunk SET done = :done WHERE id = :id;

-- name: oldest_of_class
SELECT id, first_seq, count, done FROM chunk WHERE class = :class ORDER BY id LIMIT :limit;

-- name: older_than
SELECT id, first_seq, count, done FROM chunk
 WHERE class = :class AND stored_at < :before ORDER BY id LIMIT :limit;

-- name: insert_rejected
INSERT OR IGNORE INTO rejected (stream, seq, rejected_at, code, reason, content)
VALUES (:stream, :seq, :rejected_at, :code, :reason, :content);

-- name: trim_rejected
DELETE FROM rejected WHERE rowid <= (SELECT max(rowid) FROM rejected) - :keep;

-- name: rejected
SELECT stream, seq, rejected_at, code, reason, content FROM rejected ORDER BY rowid DESC LIMIT :limit;

-- name: insert_damaged
INSERT INTO damaged (stream, first_seq, count, reason, payload)
SELECT stream, first_seq, count, :reason, payload FROM chunk WHERE id = :id;

-- name: trim_damaged
DELETE FROM damaged WHERE rowid <= (SELECT max(rowid) FROM damaged) - :keep;

-- name: set_cursor
INSERT INTO cursor (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: cursor
SELECT value FROM cursor WHERE name = :name;

-- name: add_counter
INSERT INTO counter (name, value) VALUES (:name, :by) ON CONFLICT (name) DO UPDATE SET value = value + :by;

-- name: counters
SELECT name, value FROM counter ORDER BY name;

-- name: insert_note
INSERT INTO note (at, text) VALUES (:at, :text);

-- name: notes
SELECT at, text FROM note ORDER BY rowid DESC LIMIT 20;
