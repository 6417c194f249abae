-- name: meter
-- A meter of the viewer's organisation with the zone of its site.
SELECT m.id, m.site_id, m.parent_meter_id, m.code, m.name_zh, m.name_en, m.utility, m.use, s.time_zone,
       interval_lengths(m.id, m.interval_minutes) AS lengths
  FROM meter m
  JOIN site s ON s.id = m.site_id
 WHERE m.id = %(meter_id)s;

-- name: meters
-- The tree from the top: a parent stands before its children.
WITH RECURSIVE tree AS (
    SELECT m.*, ARRAY[m.code] AS path FROM meter m WHERE m.parent_meter_id IS NULL
    UNION ALL
    SELECT m.*, t.path || m.code FROM meter m JOIN tree t ON m.parent_meter_id = t.id WHERE cardinality(t.path) < 20
)
SELECT t.id, t.site_id, t.parent_meter_id, t.code, t.name_zh, t.name_en, t.utility, t.use, s.time_zone,
       interval_lengths(t.id, t.interval_minutes) AS lengths
  FROM tree t
  JOIN site s ON s.id = t.site_id
 ORDER BY t.path;

-- name: children
-- The meters directly below one in the tree that measure the same utility. A check meter measures once more what another
-- one does: it takes no part in a balance.
SELECT c.id, c.use, c.utility
  FROM meter c
  JOIN meter m ON m.id = c.parent_meter_id AND m.utility = c.utility
 WHERE c.parent_meter_id = %(meter_id)s AND c.use <> 'check'
 ORDER BY c.code;

-- name: buckets_by_day
-- What meters counted on each local day; null where an interval is missing or not there. A meter that was exchanged
-- has one interval twice at most, which is why a day may hold more rows than intervals.
SELECT d.day::timestamp AT TIME ZONE s.time_zone AS bucket, r.meter_id,
       CASE WHEN sum(d.missing_count) > 0
              OR sum(d.interval_count) < interval_count(m.id, m.interval_minutes,
                                                        d.day::timestamp AT TIME ZONE s.time_zone,
                                                        (d.day + 1)::timestamp AT TIME ZONE s.time_zone)
            THEN NULL ELSE sum(d.quantity) END AS quantity
  FROM interval_day d
  JOIN register r ON r.id = d.register_id
  JOIN meter m ON m.id = r.meter_id
  JOIN site s ON s.id = m.site_id
 WHERE r.meter_id = ANY (%(meter_id)s::bigint[]) AND r.quantity = %(quantity)s
   AND d.day >= (%(start)s::timestamptz AT TIME ZONE s.time_zone)::date
   AND d.day < (%(end)s::timestamptz AT TIME ZONE s.time_zone)::date
 GROUP BY d.day, r.meter_id, s.time_zone, m.id;

-- name: registers_of_meters
-- Which registers counted a quantity of meters.
SELECT r.id FROM register r WHERE r.meter_id = ANY (%(meter_id)s::bigint[]) AND r.quantity = %(quantity)s;

-- name: summed_by_day
-- As above from the sums by local day, for months and years.
SELECT d.day, sum(d.quantity) AS quantity, sum(d.interval_count)::bigint AS interval_count,
       sum(d.estimated_count)::bigint AS estimated_count, sum(d.missing_count)::bigint AS missing_count
  FROM interval_day d
 WHERE d.register_id = ANY (ARRAY(SELECT r.id FROM register r WHERE r.meter_id = ANY (%(meter_id)s::bigint[])
                                   AND r.quantity = %(quantity)s))
   AND d.day >= %(first)s AND d.day < %(after)s
 GROUP BY d.day
 ORDER BY d.day;

-- name: demand
-- The highest average power of each meter over a quarter of an hour, or over one interval where that is longer. Estimated
-- intervals, and quarters of which one is not there, do not make a demand.
SELECT DISTINCT ON (x.meter_id) x.meter_id, x.starts_at, x.starts_at + x.width AS ends_at,
       x.quantity * 3600 / extract(epoch FROM x.width) AS power_kw
  FROM (SELECT r.meter_id, w.width, date_bin(w.width, i.starts_at, timestamptz 'epoch') AS starts_at,
               sum(i.quantity) AS quantity, count(DISTINCT i.starts_at) * max(i.ends_at - i.starts_at) AS present,
               bool_and(i.quality = 'actual') AS is_actual
          FROM interval i
          JOIN register r ON r.id = i.register_id
         CROSS JOIN LATERAL (SELECT greatest(i.ends_at - i.starts_at, interval '15 minutes') AS width) w
         WHERE r.meter_id = ANY (%(meter_id)s::bigint[]) AND r.quantity = %(quantity)s
           AND i.starts_at >= %(start)s AND i.starts_at < %(end)s
         GROUP BY r.meter_id, w.width, date_bin(w.width, i.starts_at, timestamptz 'epoch')) x
 WHERE x.is_actual AND x.present >= x.width
 ORDER BY x.meter_id, x.quantity DESC, x.starts_at;

-- name: terms
-- Every formula the viewer may see; there are few.
SELECT t.meter_id, t.input_meter_id, t.factor FROM meter_term t JOIN meter m ON m.id = t.meter_id;

-- name: delete_terms
-- A formula is replaced as a whole.
DELETE FROM meter_term WHERE meter_id = %(meter_id)s;

-- name: add_terms
-- One row per input.
INSERT INTO meter_term (meter_id, input_meter_id, factor)
SELECT %(meter_id)s, t.* FROM unnest(%(input_meter_id)s::bigint[], %(factor)s::numeric[]) t;

-- name: gaps
-- Stretches of a register without readings: silence. `device_offline` tells that the gateway said so.
WITH reading_pair AS (
    SELECT o.observed_at AS silent_from, lead(o.observed_at) OVER (ORDER BY o.observed_at) AS silent_to
      FROM exact_observation o
      JOIN register r ON r.point_id = o.point_id
     WHERE r.id = %(register_id)s AND o.mantissa IS NOT NULL AND r.open_period @> o.observed_at
       AND o.observed_at >= %(start)s AND o.observed_at < %(end)s
)
SELECT g.silent_from, g.silent_to,
       EXISTS (SELECT 1 FROM event e JOIN point p ON p.device_id = e.device_id JOIN register r ON r.point_id = p.id
                WHERE r.id = %(register_id)s AND e.kind = 'device.state' AND e.data ->> 'state' = 'offline'
                  AND e.occurred_at BETWEEN g.silent_from AND g.silent_to) AS device_offline
  FROM reading_pair g
 WHERE g.silent_to - g.silent_from > make_interval(secs => %(seconds)s)
 ORDER BY g.silent_from
 LIMIT 500;

-- name: sequence_gaps
-- Numbers a gateway's outbox gave but that never arrived: lost on the way, which silence is not.
SELECT g.name AS gateway, s.stream, lower(x.hole) AS first_seq, upper(x.hole) - 1 AS last_seq
  FROM ingest_stream s
  JOIN gateway g ON g.id = s.gateway_id
 CROSS JOIN LATERAL unnest(int8multirange(int8range(1, upper(s.settled))) - s.settled) AS x(hole)
 WHERE NOT isempty(s.settled)
 ORDER BY s.last_batch_at DESC
 LIMIT 500;
