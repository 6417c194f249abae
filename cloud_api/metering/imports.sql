-- name: add_upload
-- Kept between preview and import.
INSERT INTO reading_upload (organisation_id, file_name, default_meter, content, actor, uploaded_at)
VALUES (%(organisation_id)s, %(file_name)s, %(default_meter)s, %(content)s, %(actor)s, %(now)s)
RETURNING id;

-- name: forget_uploads
-- A preview that nobody confirmed within a day.
DELETE FROM reading_upload WHERE uploaded_at < %(before)s;

-- name: upload
-- Row-level security hides other organisations' files.
SELECT id, organisation_id, file_name, default_meter, content FROM reading_upload WHERE id = %(id)s;

-- name: delete_upload
-- Imported: the readings are kept, the file is not.
DELETE FROM reading_upload WHERE id = %(id)s;

-- name: registers_by_meter
-- The registers a file may speak of, by code or national meter identifier.
SELECT DISTINCT ON (m.code, r.quantity) r.id, m.id AS meter_id, m.code, m.attributes ->> 'nmi' AS nmi, r.quantity,
       r.is_delta, r.open_period
  FROM register r
  JOIN meter m ON m.id = r.meter_id
 WHERE m.code = ANY (%(name)s::text[]) OR m.attributes ->> 'nmi' = ANY (%(name)s::text[])
 ORDER BY m.code, r.quantity, upper(r.open_period) DESC NULLS FIRST;

-- name: existing
-- Readings that are there already, for the preview.
SELECT register_id, taken_at, value FROM reading
 WHERE source = 'import' AND (register_id, taken_at) IN
       (SELECT * FROM unnest(%(register_id)s::bigint[], %(taken_at)s::timestamptz[]));

-- name: add_import
-- The same file is imported once; undone, it may be imported again.
INSERT INTO reading_import (organisation_id, file_name, format, sha256, row_count, actor, imported_at)
VALUES (%(organisation_id)s, %(file_name)s, %(format)s, %(sha256)s, %(row_count)s, %(actor)s, %(now)s)
ON CONFLICT (organisation_id, sha256) WHERE undone_at IS NULL DO NOTHING
RETURNING id;

-- name: add_readings
-- A reading that is there already stays as it is.
INSERT INTO reading (register_id, taken_at, value, source, quality, received_at, import_id)
SELECT t.register_id, t.taken_at, t.value, 'import', t.quality, %(now)s, %(import_id)s
  FROM unnest(%(register_id)s::bigint[], %(taken_at)s::timestamptz[], %(value)s::numeric[], %(quality)s::text[])
       AS t(register_id, taken_at, value, quality)
ON CONFLICT DO NOTHING;

-- name: first_readings
-- Which registers have nothing before an instant: their first interval needs a beginning.
SELECT t.register_id
  FROM unnest(%(register_id)s::bigint[], %(taken_at)s::timestamptz[]) AS t(register_id, taken_at)
 WHERE NOT EXISTS (SELECT 1 FROM reading r WHERE r.register_id = t.register_id AND r.taken_at <= t.taken_at);

-- name: imports
-- Newest first.
SELECT id, file_name, format, row_count, actor, imported_at, undone_at, undone_by
  FROM reading_import ORDER BY id DESC LIMIT 100;

-- name: undo_import
-- Who undid it, and when.
UPDATE reading_import SET undone_at = %(now)s, undone_by = %(actor)s WHERE id = %(id)s AND undone_at IS NULL
RETURNING file_name;

-- name: remove_readings
-- Exactly the readings this import brought.
DELETE FROM reading WHERE import_id = %(id)s;
