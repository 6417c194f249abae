-- name: mark_dirty
-- Readings arrived for these points; app.accept_batches does the same for small batches.
SELECT app.mark_dirty(%(point_id)s, %(first)s, %(last)s, %(settled_before)s);

-- name: take_due
-- Marks of intervals that are over, by register. Two workers never hold one register; the lock ends with the commit.
-- A mark that a batch under way shares (app.mark_dirty) waits for the next turn: its readings cannot be seen yet.
WITH due AS MATERIALIZED (
    SELECT candidate.ids
      FROM (SELECT d.register_id, array_agg(d.id) AS ids, min(d.id) AS oldest
              FROM dirty_range d
              JOIN register r ON r.id = d.register_id
              JOIN meter m ON m.id = r.meter_id
              LEFT JOIN meter_length c ON c.meter_id = m.id AND c.undone_at IS NULL AND c.valid @> d.starts_at
             CROSS JOIN LATERAL make_interval(mins => coalesce(c.minutes, m.interval_minutes)) length
              LEFT JOIN latest_value l ON l.point_id = r.point_id
             WHERE d.starts_at = '-infinity' OR l.observed_at IS NULL OR NOT r.open_period @> l.observed_at
                OR l.observed_at >= date_bin(length, d.starts_at, timestamptz 'epoch') + length
             GROUP BY d.register_id
             ORDER BY oldest
             LIMIT %(limit)s) candidate
     WHERE pg_try_advisory_xact_lock(hashtextextended('ledger', candidate.register_id))
), taken AS MATERIALIZED (
    SELECT d.id, d.register_id, d.starts_at, d.ends_at
      FROM dirty_range d
     WHERE d.id IN (SELECT unnest(due.ids) FROM due)
       FOR UPDATE SKIP LOCKED
)
SELECT t.register_id, array_agg(t.id) AS ids,
       range_agg(tstzrange(greatest(t.starts_at, '0001-01-02'),
                           least(t.ends_at + interval '3 hours', '9999-12-30'), '[]')) AS ranges
  FROM taken t
 GROUP BY t.register_id
 ORDER BY min(t.id);

-- name: registers
-- What the ledger must know of registers; the open period bounds what telemetry of their point counts.
SELECT r.id, r.organisation_id, r.meter_id, r.quantity, r.unit, r.point_id, r.multiplier, r.modulus, r.is_delta,
       m.interval_minutes, m.gap_minutes, upper(r.open_period) AS closed_at
  FROM register r
  JOIN meter m ON m.id = r.meter_id
 WHERE r.id = ANY (%(register_id)s::bigint[]);

-- name: resets
-- Declared resets of registers, in order of time.
SELECT register_id, at, stop_value, start_value
  FROM register_reset
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND undone_at IS NULL
 ORDER BY register_id, at;

-- name: multipliers
-- Dated multipliers of registers, in order of time.
SELECT register_id, lower(valid) AS valid_from, upper(valid) AS valid_to, multiplier
  FROM register_multiplier
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND undone_at IS NULL
 ORDER BY register_id, lower(valid) NULLS FIRST;

-- name: lengths
-- Where the length of their meter's intervals changed, in order of time.
SELECT r.id AS register_id, lower(c.valid) AS valid_from, c.minutes
  FROM register r
  JOIN meter_length c ON c.meter_id = r.meter_id AND c.undone_at IS NULL
 WHERE r.id = ANY (%(register_id)s::bigint[])
 ORDER BY r.id, lower(c.valid);

-- name: stretches
-- Widens each stretch to what its readings can touch (`context` readings on each side, to the edges of intervals), and by
-- as many readings that are needed to compute that. Only instants with a reading that the ledger uses are counted: one
-- value repeated or an excluded one says nothing. Fewer readings than that: to the end of what is known. What lies in
-- the closed part of the ledger, whose readings are gone, is not computed again.
SELECT t.n::integer, greatest(w.first, closed.before), w.last, f.first AS read_from, f.last AS read_to
  FROM unnest(%(register_id)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[])
       WITH ORDINALITY AS t(register_id, first, last, n)
  JOIN register r ON r.id = t.register_id
  JOIN meter m ON m.id = r.meter_id
 CROSS JOIN (SELECT ledger_closed_before() AS before) closed
 CROSS JOIN LATERAL (SELECT coalesce(lower(r.open_period), '-infinity') AS opens,
                            coalesce(upper(r.open_period), 'infinity') AS closes) p
 CROSS JOIN LATERAL (
       SELECT coalesce(
                  (SELECT DISTINCT o.observed_at FROM exact_observation o
                    WHERE o.point_id = r.point_id AND o.observed_at < t.first AND o.observed_at >= p.opens
                      AND o.mantissa IS NOT NULL AND o.quality <= 1 AND NOT EXISTS (
                          SELECT 1 FROM reading_exclusion x WHERE x.register_id = r.id
                             AND x.taken_at = o.observed_at AND x.undone_at IS NULL)
                    ORDER BY o.observed_at DESC OFFSET %(context)s - 1 LIMIT 1), '0001-01-02') AS first,
              coalesce(
                  (SELECT DISTINCT o.observed_at FROM exact_observation o
                    WHERE o.point_id = r.point_id AND o.observed_at > t.last AND o.observed_at < p.closes
                      AND o.mantissa IS NOT NULL AND o.quality <= 1 AND NOT EXISTS (
                          SELECT 1 FROM reading_exclusion x WHERE x.register_id = r.id
                             AND x.taken_at = o.observed_at AND x.undone_at IS NULL)
                    ORDER BY o.observed_at OFFSET %(context)s - 1 LIMIT 1), '9999-12-30') AS last
       ) touched
 CROSS JOIN LATERAL (
       SELECT make_interval(mins => interval_minutes_at(m.id, touched.first)) AS first,
              make_interval(mins => interval_minutes_at(m.id, touched.last)) AS last
       ) length
 CROSS JOIN LATERAL (
       SELECT date_bin(length.first, touched.first, timestamptz 'epoch') AS first,
              date_bin(length.last, touched.last, timestamptz 'epoch') + length.last AS last
       ) w
 CROSS JOIN LATERAL (
       SELECT coalesce((SELECT DISTINCT o.observed_at FROM exact_observation o
                         WHERE o.point_id = r.point_id AND o.observed_at < w.first AND o.observed_at >= p.opens
                           AND o.mantissa IS NOT NULL AND o.quality <= 1 AND NOT EXISTS (
                               SELECT 1 FROM reading_exclusion x WHERE x.register_id = r.id
                                  AND x.taken_at = o.observed_at AND x.undone_at IS NULL)
                         ORDER BY o.observed_at DESC OFFSET %(context)s - 1 LIMIT 1), '0001-01-02') AS first,
              coalesce((SELECT DISTINCT o.observed_at FROM exact_observation o
                         WHERE o.point_id = r.point_id AND o.observed_at > w.last AND o.observed_at < p.closes
                           AND o.mantissa IS NOT NULL AND o.quality <= 1 AND NOT EXISTS (
                               SELECT 1 FROM reading_exclusion x WHERE x.register_id = r.id
                                  AND x.taken_at = o.observed_at AND x.undone_at IS NULL)
                         ORDER BY o.observed_at OFFSET %(context)s - 1 LIMIT 1), '9999-12-30') AS last
       ) f
 WHERE w.last > closed.before IS NOT false
 ORDER BY t.n;

-- name: copy_telemetry
-- Exact readings of stretches, in binary for numpy: stretch, instant, mantissa, scale.
COPY (
SELECT t.n, o.observed_at, o.mantissa, o.scale
  FROM unnest(%(register_id)s::bigint[], %(read_from)s::timestamptz[], %(read_to)s::timestamptz[])
       WITH ORDINALITY AS t(register_id, read_from, read_to, n)
  JOIN register r ON r.id = t.register_id
  JOIN exact_observation o ON o.point_id = r.point_id AND o.observed_at BETWEEN t.read_from AND t.read_to
 WHERE o.mantissa IS NOT NULL AND o.quality <= 1 AND r.open_period @> o.observed_at
   AND NOT EXISTS (SELECT 1 FROM reading_exclusion x
                    WHERE x.register_id = t.register_id AND x.taken_at = o.observed_at AND x.undone_at IS NULL)
) TO STDOUT (FORMAT BINARY);

-- name: entered_readings
-- Readings that people, imports and exchanges entered; of one instant the one received last stands. What was entered as a
-- correction stands while what it corrects is excluded.
SELECT t.n::integer, o.taken_at, o.value
  FROM unnest(%(register_id)s::bigint[], %(read_from)s::timestamptz[], %(read_to)s::timestamptz[])
       WITH ORDINALITY AS t(register_id, read_from, read_to, n)
  JOIN reading o ON o.register_id = t.register_id AND o.taken_at BETWEEN t.read_from AND t.read_to
 WHERE NOT EXISTS (SELECT 1 FROM reading_exclusion x
                    WHERE x.register_id = t.register_id AND x.taken_at = o.taken_at AND x.undone_at IS NULL
                      AND x.created_at >= o.received_at AND o.source <> 'correction')
 ORDER BY t.n, o.taken_at, o.received_at, o.source;

-- name: edits
-- What people decided for intervals of these registers.
SELECT register_id, starts_at, quantity, method, reason
  FROM interval_edit
 WHERE register_id = ANY (%(register_id)s::bigint[]) AND undone_at IS NULL;

-- name: write_intervals
-- Equal values change nothing. A value that changes goes to the history first. Returns the registers' changed stretch.
WITH new AS (
    SELECT t.register_id, t.starts_at, t.ends_at, t.quantity, (%(qualities)s::text[])[t.grade] AS quality,
           (%(methods)s::text[])[t.grade] AS method, (%(reasons)s::text[])[t.grade] AS reason, t.source_from, t.source_to
      FROM unnest(%(register_id)s::bigint[], %(starts_at)s::timestamptz[], %(ends_at)s::timestamptz[],
                  %(quantity)s::numeric[], %(grade)s::smallint[], %(source_from)s::timestamptz[],
                  %(source_to)s::timestamptz[])
           AS t(register_id, starts_at, ends_at, quantity, grade, source_from, source_to)
), superseded AS (
    INSERT INTO interval_revision (register_id, starts_at, revision, ends_at, quantity, quality, method, reason,
                                   computed_at, superseded_at)
    SELECT i.register_id, i.starts_at, i.revision, i.ends_at, i.quantity, i.quality, i.method, i.reason, i.computed_at,
           %(now)s
      FROM interval i
      JOIN new n ON n.register_id = i.register_id AND n.starts_at = i.starts_at
     WHERE (i.ends_at, i.quantity, i.quality, i.method, i.reason) IS DISTINCT FROM
           (n.ends_at, n.quantity, n.quality, n.method, n.reason)
    RETURNING register_id, starts_at, ends_at
), written AS (
    INSERT INTO interval AS i (register_id, starts_at, ends_at, quantity, quality, method, reason, computed_at,
                               source_from, source_to)
    SELECT n.register_id, n.starts_at, n.ends_at, n.quantity, n.quality, n.method, n.reason, %(now)s, n.source_from,
           n.source_to
      FROM new n
    ON CONFLICT (register_id, starts_at) DO UPDATE
       SET ends_at = EXCLUDED.ends_at, quantity = EXCLUDED.quantity, quality = EXCLUDED.quality,
           method = EXCLUDED.method, reason = EXCLUDED.reason,
           source_from = EXCLUDED.source_from, source_to = EXCLUDED.source_to,
           revision = i.revision + ((i.ends_at, i.quantity, i.quality, i.method, i.reason) IS DISTINCT FROM
               (EXCLUDED.ends_at, EXCLUDED.quantity, EXCLUDED.quality, EXCLUDED.method, EXCLUDED.reason))::integer,
           computed_at = CASE WHEN (i.ends_at, i.quantity, i.quality, i.method, i.reason) IS DISTINCT FROM
               (EXCLUDED.ends_at, EXCLUDED.quantity, EXCLUDED.quality, EXCLUDED.method, EXCLUDED.reason)
               THEN EXCLUDED.computed_at ELSE i.computed_at END
     WHERE (i.ends_at, i.quantity, i.quality, i.method, i.reason, i.source_from, i.source_to) IS DISTINCT FROM
           (EXCLUDED.ends_at, EXCLUDED.quantity, EXCLUDED.quality, EXCLUDED.method, EXCLUDED.reason,
            EXCLUDED.source_from, EXCLUDED.source_to)
)
SELECT register_id, min(starts_at), max(ends_at) FROM superseded GROUP BY register_id;

-- name: remove_intervals
-- Rows of a recomputed stretch that the readings no longer support go to the history.
WITH gone AS (
    DELETE FROM interval i
     USING unnest(%(stretch_register_id)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[])
           AS s(register_id, first, last)
     WHERE i.register_id = s.register_id AND i.starts_at >= s.first AND i.starts_at < s.last
       AND NOT EXISTS (SELECT 1 FROM unnest(%(register_id)s::bigint[], %(starts_at)s::timestamptz[])
                                  AS n(register_id, starts_at)
                        WHERE n.register_id = i.register_id AND n.starts_at = i.starts_at)
    RETURNING i.*
), superseded AS (
    INSERT INTO interval_revision (register_id, starts_at, revision, ends_at, quantity, quality, method, reason,
                                   computed_at, superseded_at)
    SELECT register_id, starts_at, revision, ends_at, quantity, quality, method, reason, computed_at, %(now)s FROM gone
    ON CONFLICT DO NOTHING
)
SELECT register_id, min(starts_at), max(ends_at) FROM gone GROUP BY register_id;

-- name: write_gaps
-- One row per silence that touches a recomputed stretch; what is no longer silent goes.
WITH new AS (
    SELECT * FROM unnest(%(register_id)s::bigint[], %(organisation_id)s::bigint[], %(silent_from)s::timestamptz[],
                         %(silent_to)s::timestamptz[]) AS t(register_id, organisation_id, silent_from, silent_to)
), ended AS (
    DELETE FROM register_gap g
     USING unnest(%(stretch_register_id)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[])
           AS s(register_id, first, last)
     WHERE g.register_id = s.register_id AND g.silent_from < s.last AND g.silent_to > s.first
       AND NOT EXISTS (SELECT 1 FROM new n WHERE n.register_id = g.register_id AND n.silent_from = g.silent_from)
)
INSERT INTO register_gap AS g (register_id, organisation_id, silent_from, silent_to, found_at)
SELECT n.register_id, n.organisation_id, n.silent_from, n.silent_to, %(now)s FROM new n
ON CONFLICT (register_id, silent_from) DO UPDATE SET silent_to = EXCLUDED.silent_to, found_at = EXCLUDED.found_at
 WHERE g.silent_to <> EXCLUDED.silent_to;

-- name: add_changes
-- Readers follow this table with a cursor.
INSERT INTO ledger_change (register_id, starts_at, ends_at, changed_at)
SELECT t.*, %(now)s FROM unnest(%(register_id)s::bigint[], %(starts_at)s::timestamptz[], %(ends_at)s::timestamptz[]) t;

-- name: forget_dirty
-- Only the marks that were read before the readings were; what came in between stays.
DELETE FROM dirty_range WHERE id = ANY (%(ids)s::bigint[]);

-- name: count_dirty
-- How much waits, for the health page.
SELECT count(*) FROM dirty_range;
