-- name: meter_of_viewer
-- The only road from a person to a meter, held until the decision is stored; what is decided already about its length.
SELECT m.id, m.code, m.organisation_id, interval_minutes_at(m.id, %(at)s) AS minutes,
       EXISTS (SELECT 1 FROM meter_length l
                WHERE l.meter_id = m.id AND l.undone_at IS NULL AND lower(l.valid) = %(at)s) AS is_changed_then,
       (SELECT min(lower(l.valid)) FROM meter_length l
         WHERE l.meter_id = m.id AND l.undone_at IS NULL AND lower(l.valid) > %(at)s) AS until,
       ledger_closed_before() AS closed_before,
       NOT EXISTS (SELECT 1 FROM register r WHERE r.meter_id = m.id) AS is_virtual
  FROM meter m
 WHERE m.id = %(meter_id)s
   FOR NO KEY UPDATE OF m;

-- name: edits_within
-- Quantities that people decided for intervals of a stretch: they would mean intervals of another length.
SELECT count(*) AS count
  FROM interval_edit e
  JOIN register r ON r.id = e.register_id
 WHERE r.meter_id = %(meter_id)s AND e.undone_at IS NULL AND tstzrange(%(at)s, %(until)s) @> e.starts_at;

-- name: end_length
-- A new length ends the one before at its instant.
UPDATE meter_length SET valid = tstzrange(lower(valid), %(at)s)
 WHERE meter_id = %(meter_id)s AND undone_at IS NULL AND valid @> %(at)s::timestamptz;

-- name: add_length
-- From an instant on, until the next change.
INSERT INTO meter_length (organisation_id, meter_id, valid, minutes, reason, actor, created_at)
VALUES (%(organisation_id)s, %(meter_id)s, tstzrange(%(at)s, %(until)s), %(minutes)s, %(reason)s, %(actor)s, %(now)s)
RETURNING id;

-- name: change
-- A change of length that stands. The join brings row-level security.
SELECT l.id, l.meter_id, lower(l.valid) AS at, upper(l.valid) AS until, l.minutes, m.code
  FROM meter_length l
  JOIN meter m ON m.id = l.meter_id
 WHERE l.id = %(id)s AND l.meter_id = %(meter_id)s AND l.undone_at IS NULL
   FOR UPDATE OF l;

-- name: undo_length
-- Nothing is deleted: who decided it, when and why stays.
UPDATE meter_length SET undone_at = %(now)s WHERE id = %(id)s;

-- name: extend_length
-- The length that the undone one had ended holds on to where that would have held.
UPDATE meter_length SET valid = tstzrange(lower(valid), %(until)s)
 WHERE meter_id = %(meter_id)s AND undone_at IS NULL AND upper(valid) = %(at)s;
