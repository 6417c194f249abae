-- name: packs
-- Packed days of registers. Only registers that the caller has reached through a protected table may be asked for.
SELECT register_id, day, scale, minutes, mantissas, grades
  FROM interval_pack
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND day BETWEEN %(first)s AND %(last)s
 ORDER BY register_id, day;

-- name: rows_of_days
-- The rows of UTC days whose quantities do not fit into 64 bits.
SELECT i.register_id, i.starts_at, i.quantity, i.quality
  FROM unnest(%(register_id)s::bigint[], %(day)s::date[]) AS t(register_id, day)
  JOIN interval i ON i.register_id = t.register_id AND i.starts_at >= t.day::timestamp AT TIME ZONE 'UTC'
       AND i.starts_at < (t.day + 1)::timestamp AT TIME ZONE 'UTC'
 ORDER BY i.register_id, i.starts_at;
