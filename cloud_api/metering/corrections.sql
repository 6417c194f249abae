-- name: register_of_viewer
-- The only road from a person to a register: row-level security hides other organisations' registers. One whose exchange
-- was undone never was.
SELECT r.id, r.meter_id, m.code AS meter_code, r.quantity, r.unit, r.point_id, r.modulus, r.multiplier,
       lower(r.open_period) AS opened_at, upper(r.open_period) AS closed_at
  FROM register r
  JOIN meter m ON m.id = r.meter_id
 WHERE r.id = %(register_id)s AND NOT isempty(r.open_period)
   FOR NO KEY UPDATE OF r;

-- name: open_register
-- The register that counts a meter's quantity at an instant.
SELECT r.id
  FROM register r
 WHERE r.meter_id = %(meter_id)s AND r.quantity = %(quantity)s AND r.open_period @> %(at)s::timestamptz;

-- name: registers_of_meter
-- Newest first.
SELECT r.id, r.quantity, r.unit, r.multiplier, r.modulus, lower(r.open_period) AS opened_at,
       upper(r.open_period) AS closed_at, r.point_id, d.name || '/' || p.name AS address,
       r.is_delta
  FROM register r
  LEFT JOIN point p ON p.id = r.point_id
  LEFT JOIN device d ON d.id = p.device_id
 WHERE r.meter_id = %(meter_id)s AND NOT isempty(r.open_period)
 ORDER BY r.quantity, lower(r.open_period) DESC NULLS LAST;

-- name: add_reading
-- A reading that a person or an exchange brings; the same instant and source only once.
INSERT INTO reading (register_id, taken_at, value, source, quality, received_at)
VALUES (%(register_id)s, %(taken_at)s, %(value)s, %(source)s, %(quality)s, %(now)s)
ON CONFLICT DO NOTHING
RETURNING register_id;

-- name: add_reset
-- One reset per instant.
INSERT INTO register_reset (register_id, at, stop_value, start_value, reason, actor, created_at)
VALUES (%(register_id)s, %(at)s, %(stop_value)s, %(start_value)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (register_id, at) WHERE undone_at IS NULL DO NOTHING
RETURNING id;

-- name: end_multiplier
-- A new ratio ends the one before at its instant.
UPDATE register_multiplier SET valid = tstzrange(lower(valid), %(at)s)
 WHERE register_id = %(register_id)s AND undone_at IS NULL AND valid @> %(at)s::timestamptz AND lower(valid) < %(at)s;

-- name: add_multiplier
-- From an instant on, until the next dated one.
INSERT INTO register_multiplier (register_id, valid, multiplier, cause, reason, actor, created_at)
SELECT %(register_id)s, tstzrange(%(at)s, min(lower(x.valid))), %(multiplier)s, %(cause)s, %(reason)s, %(actor)s, %(now)s
  FROM (SELECT valid FROM register_multiplier
         WHERE register_id = %(register_id)s AND undone_at IS NULL AND lower(valid) > %(at)s) x
RETURNING id;

-- name: multiplier_at
-- The dated factor that holds just before an instant.
SELECT multiplier FROM register_multiplier
 WHERE register_id = %(register_id)s AND undone_at IS NULL AND valid @> (%(at)s::timestamptz - interval '1 microsecond');

-- name: extend_multiplier
-- A factor is undone: the one it had ended holds on to where this one would have held.
UPDATE register_multiplier b SET valid = tstzrange(lower(b.valid), upper(u.valid))
  FROM register_multiplier u
 WHERE u.id = %(id)s AND u.register_id = %(register_id)s AND b.register_id = u.register_id AND b.undone_at IS NULL
   AND upper(b.valid) = lower(u.valid);

-- name: add_modulus
-- What the range was before, for the undo.
INSERT INTO register_modulus (register_id, modulus, previous, reason, actor, created_at)
VALUES (%(register_id)s, %(modulus)s, %(previous)s, %(reason)s, %(actor)s, %(now)s);

-- name: set_modulus
-- The range at which the counter starts again at zero.
UPDATE register SET modulus = %(modulus)s WHERE id = %(register_id)s;

-- name: undo_register_modulus
-- Only the newest decision can be undone: an older one is no longer what holds.
WITH undone AS (
    UPDATE register_modulus m SET undone_at = %(now)s
     WHERE m.id = %(id)s AND m.register_id = %(register_id)s AND m.undone_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM register_modulus x
                        WHERE x.register_id = m.register_id AND x.id > m.id AND x.undone_at IS NULL)
    RETURNING m.register_id, m.previous)
UPDATE register r SET modulus = u.previous FROM undone u WHERE r.id = u.register_id;

-- name: add_exclusion
-- The reading stays where it is; the ledger stops using it.
INSERT INTO reading_exclusion (register_id, taken_at, reason, actor, created_at)
VALUES (%(register_id)s, %(taken_at)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (register_id, taken_at) WHERE undone_at IS NULL DO NOTHING
RETURNING id;

-- name: has_reading
-- Whether there is anything to exclude.
SELECT value FROM register_reading WHERE register_id = %(register_id)s AND taken_at = %(taken_at)s LIMIT 1;

-- name: replace_edit
-- The newest decision about an interval stands; the one before it becomes undone.
UPDATE interval_edit SET undone_at = %(now)s
 WHERE register_id = %(register_id)s AND starts_at = %(starts_at)s AND undone_at IS NULL;

-- name: add_edit
-- A quantity that a person decided.
INSERT INTO interval_edit (register_id, starts_at, quantity, method, reason, actor, created_at, finding_id)
VALUES (%(register_id)s, %(starts_at)s, %(quantity)s, %(method)s, %(reason)s, %(actor)s, %(now)s, %(finding_id)s)
RETURNING id;

-- name: undo_register_reset
-- Nothing is deleted: who did it, when and why stays.
UPDATE register_reset SET undone_at = %(now)s WHERE id = %(id)s AND register_id = %(register_id)s AND undone_at IS NULL;

-- name: undo_register_multiplier
-- As above.
UPDATE register_multiplier SET undone_at = %(now)s WHERE id = %(id)s AND register_id = %(register_id)s AND undone_at IS NULL;

-- name: undo_reading_exclusion
-- As above.
UPDATE reading_exclusion SET undone_at = %(now)s WHERE id = %(id)s AND register_id = %(register_id)s AND undone_at IS NULL;

-- name: remove_correction
-- The value that an exclusion put in the place of a wrong reading goes with it; the audit keeps it.
DELETE FROM reading r USING reading_exclusion x
 WHERE x.id = %(id)s AND x.register_id = %(register_id)s AND r.register_id = x.register_id AND r.taken_at = x.taken_at
   AND r.source = 'correction';

-- name: undo_interval_edit
-- As above.
UPDATE interval_edit SET undone_at = %(now)s WHERE id = %(id)s AND register_id = %(register_id)s AND undone_at IS NULL;

-- name: decisions
-- Everything people decided about a meter and its registers, newest first.
SELECT d.*, coalesce((SELECT jsonb_agg(jsonb_build_object('id', p.id, 'side', p.side) ORDER BY p.id)
                        FROM meter_photo p WHERE d.kind = 'exchange' AND p.exchange_id = d.id), '[]') AS photos
  FROM (
    SELECT 'exchange' AS kind, x.id, x.register_id, x.at, x.closing || ' → ' || x.opening AS what, '' AS cause, x.reason,
           x.actor, x.created_at, x.undone_at FROM meter_exchange x
    UNION ALL
    SELECT 'reset', x.id, x.register_id, x.at, coalesce(x.stop_value::text, '?') || ' → ' || x.start_value, '', x.reason,
           x.actor, x.created_at, x.undone_at FROM register_reset x
    UNION ALL
    SELECT 'multiplier', x.id, x.register_id, lower(x.valid), trim_scale(x.multiplier)::text, x.cause, x.reason, x.actor,
           x.created_at, x.undone_at FROM register_multiplier x
    UNION ALL
    SELECT 'modulus', x.id, x.register_id, NULL, coalesce(trim_scale(x.modulus)::text, '–'), '', x.reason, x.actor,
           x.created_at, x.undone_at FROM register_modulus x
    UNION ALL
    SELECT 'exclusion', x.id, x.register_id, x.taken_at, '', '', x.reason, x.actor, x.created_at, x.undone_at
      FROM reading_exclusion x
    UNION ALL
    SELECT 'edit', x.id, x.register_id, x.starts_at, trim_scale(x.quantity)::text, '', x.reason, x.actor, x.created_at,
           x.undone_at FROM interval_edit x
    UNION ALL
    SELECT 'length', x.id, NULL, lower(x.valid), x.minutes::text, '', x.reason, x.actor, x.created_at, x.undone_at
      FROM meter_length x WHERE x.meter_id = %(meter_id)s) d
  LEFT JOIN register r ON r.id = d.register_id
 WHERE r.meter_id = %(meter_id)s OR d.kind = 'length'
 ORDER BY d.created_at DESC, d.kind, d.id DESC
 LIMIT 200;
