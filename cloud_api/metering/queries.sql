-- name: intervals
-- Half-open: an interval starting exactly at `end` belongs to the next bill.
SELECT i.register_id, i.starts_at, i.ends_at, i.quantity, i.quality, i.method, i.reason, i.revision, i.computed_at,
       i.source_from, i.source_to
  FROM interval i
  JOIN register r ON r.id = i.register_id
 WHERE i.register_id = ANY (%(register_id)s::bigint[]) AND i.starts_at >= %(start)s AND i.starts_at < %(end)s
 ORDER BY i.register_id, i.starts_at;

-- name: meter_intervals
-- Two registers of one meter share an interval when the meter was exchanged in it; the worst quality stands.
SELECT r.meter_id, i.starts_at, max(i.ends_at) AS ends_at, sum(i.quantity) AS quantity,
       CASE WHEN bool_or(i.quality = 'missing') THEN 'missing'
            WHEN bool_or(i.quality = 'edited') THEN 'edited'
            WHEN bool_or(i.quality = 'estimated') THEN 'estimated'
            ELSE 'actual' END AS quality
  FROM interval i
  JOIN register r ON r.id = i.register_id
 WHERE r.meter_id = ANY (%(meter_id)s::bigint[]) AND r.quantity = %(quantity)s
   AND i.starts_at >= %(start)s AND i.starts_at < %(end)s
 GROUP BY r.meter_id, i.starts_at
 ORDER BY r.meter_id, i.starts_at;

-- name: energy_by_meter
-- What each meter counted in a period, and how complete that is.
SELECT m.id AS meter_id, coalesce(sum(i.quantity), 0) AS quantity,
       coalesce(sum(i.quantity) FILTER (WHERE i.quality = 'estimated'), 0) AS estimated,
       coalesce(sum(i.quantity) FILTER (WHERE i.quality = 'edited'), 0) AS edited,
       count(DISTINCT i.starts_at) AS interval_count,
       count(DISTINCT i.starts_at) FILTER (WHERE i.quality = 'missing') AS missing_count,
       interval_count(m.id, m.interval_minutes, %(start)s, %(end)s) AS expected_count
  FROM meter m
  LEFT JOIN register r ON r.meter_id = m.id AND r.quantity = %(quantity)s
  LEFT JOIN interval i ON i.register_id = r.id AND i.starts_at >= %(start)s AND i.starts_at < %(end)s
 WHERE m.id = ANY (%(meter_id)s::bigint[])
 GROUP BY m.id;

-- name: readings_around
-- The last reading at or before an instant and the first one after it: the evidence behind a boundary.
SELECT * FROM (
    SELECT register_id, taken_at, trim_scale(value) AS value, source, quality FROM register_reading
     WHERE register_id = %(register_id)s AND taken_at <= %(at)s ORDER BY taken_at DESC LIMIT 1) before
UNION ALL
SELECT * FROM (
    SELECT register_id, taken_at, trim_scale(value) AS value, source, quality FROM register_reading
     WHERE register_id = %(register_id)s AND taken_at > %(at)s ORDER BY taken_at LIMIT 1) after;

-- name: changes_after
-- Where a known value of the ledger has changed; as telemetry's events_after, no late commit is jumped over.
SELECT id, register_id, starts_at, ends_at, changed_at
  FROM ledger_change
 WHERE id > %(after)s AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY id
 LIMIT %(limit)s;

-- name: last_change
-- Where a reader that begins now starts.
SELECT coalesce(max(id), 0) FROM ledger_change;

-- name: readings_between
-- The readings of a stretch, and whether a person declared them wrong.
SELECT r.register_id, r.taken_at, r.value, r.source, r.quality,
       r.source <> 'correction' AND EXISTS (SELECT 1 FROM reading_exclusion x
                WHERE x.register_id = r.register_id AND x.taken_at = r.taken_at AND x.undone_at IS NULL) AS is_excluded
  FROM register_reading r
 WHERE r.register_id = %(register_id)s AND r.taken_at BETWEEN %(first)s AND %(last)s
 ORDER BY r.taken_at, r.source
 LIMIT %(limit)s;
