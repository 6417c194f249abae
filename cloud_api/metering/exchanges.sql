-- name: close_register
-- At the instant of an exchange; the register keeps its readings.
UPDATE register SET open_period = tstzrange(lower(open_period), %(at)s) WHERE id = %(register_id)s;

-- name: open_successor
-- The new counter begins where the old one ended, with the same meaning.
INSERT INTO register (organisation_id, meter_id, quantity, unit, point_id, multiplier, modulus, is_delta, open_period)
SELECT organisation_id, meter_id, quantity, unit, coalesce(%(point_id)s, point_id), coalesce(%(multiplier)s,
       (SELECT x.multiplier FROM register_multiplier x
         WHERE x.register_id = register.id AND x.undone_at IS NULL AND x.valid @> %(at)s::timestamptz), multiplier),
       coalesce(%(modulus)s, modulus), is_delta, tstzrange(%(at)s, %(until)s)
  FROM register WHERE id = %(register_id)s
RETURNING id;

-- name: add_exchange
-- What was decided, so that it can be undone.
INSERT INTO meter_exchange (organisation_id, register_id, successor_id, at, closing, opening, reason, actor, created_at)
SELECT organisation_id, id, %(successor_id)s, %(at)s, %(closing)s, %(opening)s, %(reason)s, %(actor)s, %(now)s
  FROM register WHERE id = %(register_id)s
RETURNING id;

-- name: exchange
-- An exchange that stands, and whether anything stands on its successor.
SELECT x.id, x.register_id, x.successor_id, x.at, upper(s.open_period) AS until,
       EXISTS (SELECT 1 FROM meter_exchange y WHERE y.register_id = x.successor_id AND y.undone_at IS NULL)
       OR EXISTS (SELECT 1 FROM reading r WHERE r.register_id = x.successor_id AND r.source <> 'exchange')
       OR EXISTS (SELECT 1 FROM register_reset f WHERE f.register_id = x.successor_id AND f.undone_at IS NULL)
       OR EXISTS (SELECT 1 FROM register_multiplier f WHERE f.register_id = x.successor_id AND f.undone_at IS NULL)
       OR EXISTS (SELECT 1 FROM register_modulus f WHERE f.register_id = x.successor_id AND f.undone_at IS NULL)
       OR EXISTS (SELECT 1 FROM reading_exclusion f WHERE f.register_id = x.successor_id AND f.undone_at IS NULL)
       OR EXISTS (SELECT 1 FROM interval_edit f WHERE f.register_id = x.successor_id AND f.undone_at IS NULL)
       AS stands_on_it
  FROM meter_exchange x
  JOIN register s ON s.id = x.successor_id
 WHERE x.id = %(id)s AND x.undone_at IS NULL
   FOR UPDATE OF x, s;

-- name: remove_exchange_readings
-- The two readings that the exchange itself brought; what telemetry brought stays.
DELETE FROM reading WHERE register_id IN (%(register_id)s, %(successor_id)s) AND taken_at = %(at)s AND source = 'exchange';

-- name: empty_register
-- A register that never was counts nothing; its row stays for the record.
UPDATE register SET open_period = 'empty' WHERE id = %(successor_id)s;

-- name: forget_findings_of_register
-- What was doubtful about a register that never was is not.
UPDATE vee_finding SET state = 'gone', settled_at = %(now)s WHERE register_id = %(successor_id)s AND state = 'open';

-- name: reopen_register
-- The old register counts on until its successor would have ended.
UPDATE register SET open_period = tstzrange(lower(open_period), %(until)s) WHERE id = %(register_id)s;

-- name: undo_exchange
-- Nothing is deleted: who decided it, when and why stays.
UPDATE meter_exchange SET undone_at = %(now)s WHERE id = %(id)s;

-- name: add_photo
-- Up to a limit.
INSERT INTO meter_photo (organisation_id, exchange_id, side, media_type, content, actor, added_at)
SELECT x.organisation_id, x.id, %(side)s, %(media_type)s, %(content)s, %(actor)s, %(now)s
  FROM meter_exchange x
 WHERE x.id = %(exchange_id)s AND (SELECT count(*) FROM meter_photo p WHERE p.exchange_id = x.id) < %(most)s
RETURNING id;

-- name: photo
-- One photograph.
SELECT content, media_type FROM meter_photo WHERE id = %(id)s;
